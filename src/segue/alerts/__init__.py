"""Alerts: who is told when runs fail for good, wait for too long, or are not let through."""

from segue.alerts.alert import Alert
from segue.alerts.settings import Alerts

__all__ = ["Alert", "Alerts"]
