"""The rules between the models. None of them is a model, and each says why it refuses.

A rule takes a value and gives ``None``, or the reason against it: the form that ``segue.gate`` and ``check=`` take.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from crediflow.credit import CreditScore
from crediflow.fraud import FraudScore
from crediflow.readers import Reading

Rule = Callable[[Any], str | None]

LEAST, MOST = 600, 25_000
"""What somebody who applies here may earn a month, in dollars."""
SUSPICIOUS = 0.7
REJECT, ACCEPT = 0.52, 0.60
"""Who is less likely to pay is rejected, who is more likely accepted; between them a person decides."""
TOO_MUCH = 0.45
"""The share of an income that instalments may take."""


@dataclass(frozen=True)
class Readings:
    """What two readers made of the same slip."""

    tesseract: Reading
    rapidocr: Reading

    @property
    def monthly(self) -> float:
        """The income, once a gate has let it through."""
        return self.tesseract.income or 0.0


def readers_agree(readings: Readings) -> str | None:
    a, b = readings.tesseract.income, readings.rapidocr.income
    if a is None and b is None:
        return "neither reader finds an income"
    return None if a == b else f"tesseract reads {_dollars(a)}, rapidocr {_dollars(b)}"


def is_realistic(readings: Readings) -> str | None:
    """It says nothing of an income that was not found: ``readers_agree`` does."""
    read = {reading.income for reading in (readings.tesseract, readings.rapidocr)} - {None}
    absurd = sorted(income for income in read if income is not None and not LEAST <= income <= MOST)
    return f"nobody earns {' or '.join(map(_dollars, absurd))} a month" if absurd else None


def belongs_to(name: str) -> Rule:
    def is_the_applicants(readings: Readings) -> str | None:
        found = sorted({reading.name for reading in (readings.tesseract, readings.rapidocr) if reading.name})
        if not found or any(SequenceMatcher(None, one.lower(), name.lower()).ratio() > 0.8 for one in found):
            return None
        return f"it is a payslip of {' or '.join(found)}"

    return is_the_applicants


def is_a_share(scored: FraudScore | CreditScore) -> str | None:
    """A model that has failed, or was fed nonsense, gives something else."""
    return None if 0 <= scored.score <= 1 else f"the score is {scored.score}, not between 0 and 1"


def shares_nothing_with_fraud(risk: FraudScore) -> str | None:
    shared = risk.shares_with_fraud
    return f"shared with people known for fraud: {', '.join(shared)}" if shared else None


def is_unsuspicious(risk: FraudScore) -> str | None:
    return f"fraud score {risk.score:.2f}" if risk.score >= SUSPICIOUS else None


def is_clear(credit: CreditScore) -> str | None:
    """A score says little more than a coin around the middle."""
    return f"credit score {credit.score:.2f}, neither good nor bad" if REJECT <= credit.score < ACCEPT else None


def is_affordable(credit: CreditScore) -> str | None:
    """Arithmetic outranks the model: however good the score, an income can carry only so much."""
    if credit.score < REJECT or credit.burden <= TOO_MUCH:
        return None
    return f"score {credit.score:.2f}, though instalments would take {credit.burden:.0%} of the income"


def of_income(name: str) -> tuple[Rule, ...]:
    """What the readings of somebody's payslip have to pass."""
    return (readers_agree, is_realistic, belongs_to(name))


OF_FRAUD: tuple[Rule, ...] = (is_a_share, shares_nothing_with_fraud, is_unsuspicious)
OF_CREDIT: tuple[Rule, ...] = (is_a_share, is_clear, is_affordable)


def reasons(value: Any, rules: Iterable[Rule]) -> list[str]:
    """What speaks against a value."""
    return [reason for rule in rules if (reason := rule(value)) is not None]


def _dollars(amount: float | None) -> str:
    return "nothing" if amount is None else f"{'-' if amount < 0 else ''}${abs(amount):,.2f}"
