"""Credit: how likely is it that this loan is paid back? Gradient boosting (scikit-learn), on made-up borrowers.

Whoever is refused is told why: which of the facts, had it been as with those who paid, would have helped most.
"""

from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

SEED = 23
BORROWERS = 4000
MONTHS = 48
"""How long each loan runs."""
RATE = 0.08


@dataclass(frozen=True)
class Facts:
    """What decides. Age, sex, name and address are not among them.

    Attributes:
        income: a month, before tax.
        burden: the share of the income that this loan's and all other instalments take.
    """

    income: float
    amount: float
    burden: float
    years_in_job: float
    dependants: float
    missed_payments: float


@dataclass(frozen=True)
class CreditScore:
    """Attributes:
    score: 0 to 1, how likely the loan is paid back.
    burden: as in ``Facts``.
    against: what speaks against it, worst first, in words.
    """

    score: float
    burden: float
    against: list[str]


NO_SCORE = CreditScore(-1.0, 0.0, [])
"""What a model that has failed gives; no gate lets it through."""

WORDS = {
    "income": "the income of ${:,.0f} a month",
    "amount": "the amount of ${:,.0f}",
    "burden": "instalments of {:.0%} of the income",
    "years_in_job": "years with the employer: {:.0f}",
    "dependants": "dependants: {:.0f}",
    "missed_payments": "missed payments: {:.0f}",
}


def instalment(amount: float) -> float:
    """What a loan costs a month."""
    rate = RATE / 12
    return amount * rate / (1 - (1 + rate) ** -MONTHS)


class Scorer:
    """The trained model, and what those who paid had in common."""

    def __init__(self, fitted: HistGradientBoostingClassifier, usual: NDArray[np.float64]) -> None:
        self._fitted, self._usual = fitted, usual

    @threadpool_limits.wrap(limits=1)
    def score(self, facts: Facts) -> CreditScore:
        own = np.array(astuple(facts), dtype=np.float64)
        changed = np.tile(own, (len(own) + 1, 1))
        changed[1:][np.diag_indices(len(own))] = self._usual  # one fact at a time as with those who paid
        score, *others = (float(odds) for odds in self._fitted.predict_proba(changed)[:, 1])
        gains = sorted(zip(others, fields(Facts), own, strict=True), key=lambda gain: -gain[0])
        against = [WORDS[fact.name].format(value) for other, fact, value in gains if other - score > 0.03]
        return CreditScore(score, facts.burden, against)


@threadpool_limits.wrap(limits=1)
def train() -> Scorer:
    """The same model each time: the borrowers come from one seed."""
    facts, paid = borrowers()
    return Scorer(untrained().fit(facts, paid), np.median(facts[paid], axis=0))


def untrained() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=80, learning_rate=0.1, max_leaf_nodes=8, random_state=0)


def borrowers() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Facts of borrowers, one a row, and whether each paid. The rule behind it has noise, as people have."""
    dice = np.random.default_rng(SEED)
    income = dice.lognormal(8.1, 0.4, BORROWERS).clip(900, 20_000).round(2)
    amount = dice.choice(np.arange(1_000, 31_000, 500), BORROWERS).astype(np.float64)
    other = dice.exponential(180, BORROWERS)
    burden = (instalment(1.0) * amount + other) / income
    years = dice.exponential(6, BORROWERS).clip(0, 40).round()
    dependants = dice.poisson(1.2, BORROWERS).astype(np.float64)
    missed = dice.poisson(0.5, BORROWERS).astype(np.float64)
    leaning = 2.6 - 5.5 * burden + 0.12 * years.clip(0, 12) - 0.9 * missed - 0.15 * dependants + (income - 3300) / 4000
    paid = dice.random(BORROWERS) < 1 / (1 + np.exp(-leaning))
    return np.column_stack([income, amount, burden, years, dependants, missed]), paid
