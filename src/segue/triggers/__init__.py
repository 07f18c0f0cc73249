"""What starts runs by itself, where ``segue serve`` runs: ``@flow(on=[every("30s"), webhook("/traffic", …)])``."""

from segue.triggers.files import files
from segue.triggers.schedules import Tick, cron, every
from segue.triggers.secrets import env
from segue.triggers.webhooks import webhook

__all__ = ["Tick", "cron", "env", "every", "files", "webhook"]
