"""What became of many applications."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from segue import File

Outcome = Literal["accepted", "rejected", "escalated", "failed"]


@dataclass(frozen=True)
class Row:
    """One application.

    Attributes:
        run: its own run's id.
        reasons: why; of an escalated one, why a person has to decide.
        question, answer: of an escalated one, what is asked, and the command that answers it.
    """

    number: int
    name: str
    amount: int
    payslip: File
    run: str
    outcome: Outcome
    reasons: list[str]
    question: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Report:
    rows: list[Row]

    def count(self) -> Counter[Outcome]:
        return Counter(row.outcome for row in self.rows)
