"""What a night came to."""

from dataclasses import dataclass
from datetime import date

from retraining.deployments import Deployment
from retraining.models import Scores


@dataclass(frozen=True)
class Night:
    """Attributes:
    day: the last one whose trips were learned from.
    version: the hash of the model that was trained.
    deployed: what is in use since; None where the model was refused: ``scores.refusal`` says why.
    """

    day: date
    version: str
    scores: Scores
    deployed: Deployment | None = None
