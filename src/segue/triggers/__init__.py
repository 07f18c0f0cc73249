"""What starts runs of a flow by itself: ``@flow(on=[…])``."""

from segue.triggers.files import files
from segue.triggers.secrets import env
from segue.triggers.webhooks import webhook

__all__ = ["env", "files", "webhook"]
