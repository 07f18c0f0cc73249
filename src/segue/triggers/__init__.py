"""What starts runs by itself, where ``segue serve`` runs: ``@flow(on=[cron("*/15 * * * *"), every("30s")])``."""

from segue.triggers.schedules import Tick, cron, every

__all__ = ["Tick", "cron", "every"]
