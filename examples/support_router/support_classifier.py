"""What does a customer want? A small classifier, trained when it is loaded, on sentences that ship with it.

``python support_classifier.py`` measures it on sentences that it was not trained on.
"""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits

DATA = Path(__file__).parent / "data"
SURE = 0.5
"""Below this confidence a person reads the message. Measured: 4 of 5 messages reach it, 9 of 10 of those are right."""


class Intent(StrEnum):
    BILLING = "billing"
    TECHNICAL = "technical"
    OTHER = "other"


@dataclass(frozen=True)
class Guess:
    intent: Intent
    confidence: float

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE


class Classifier:
    """TF-IDF over pieces of words, so that typing errors and endings matter little, and a logistic regression."""

    def __init__(self, fitted: Pipeline) -> None:
        self._fitted = fitted

    def classify(self, text: str) -> Guess:
        time.sleep(float(os.environ.get("SUPPORT_SLOW_CLASSIFIER", 0)))  # the README's way to see what slowness does
        confidence, intent = max(zip(self._fitted.predict_proba([text])[0], self._fitted.classes_, strict=True))
        return Guess(Intent(intent), float(confidence))


@threadpool_limits.wrap(limits=1)  # the matrices are tiny: more threads would only get into each other's way
def train() -> Classifier:
    intents, sentences = labelled("sentences.tsv")
    return Classifier(untrained().fit(sentences, intents))


def untrained() -> Pipeline:
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    return make_pipeline(pieces, LogisticRegression(C=10, max_iter=200))


def labelled(file: str) -> tuple[list[Intent], list[str]]:
    rows = [line.split("\t") for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    return [Intent(intent) for intent, _ in rows], [sentence for _, sentence in rows]


@dataclass(frozen=True)
class Accuracy:
    """Shares of the sentences, 0 to 1."""

    right: float
    sure: float
    right_when_sure: float


@threadpool_limits.wrap(limits=1)
def held_out() -> Accuracy:
    """Each tenth of the training sentences, by a classifier trained on the other nine."""
    intents, sentences = labelled("sentences.tsv")
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    odds = cross_val_predict(untrained(), sentences, intents, cv=folds, method="predict_proba")
    names = sorted(set(intents))
    return accuracy(intents, [Guess(names[row.argmax()], float(row.max())) for row in odds])


def unseen() -> Accuracy:
    """Messages in a rougher style, that nothing was trained or tuned on."""
    intents, sentences = labelled("unseen.tsv")
    classifier = train()
    return accuracy(intents, [classifier.classify(sentence) for sentence in sentences])


def accuracy(intents: list[Intent], guesses: list[Guess]) -> Accuracy:
    right = [guess.intent is intent for guess, intent in zip(guesses, intents, strict=True)]
    right_and_sure = [ok for ok, guess in zip(right, guesses, strict=True) if guess.sure]
    return Accuracy(
        right=sum(right) / len(right),
        sure=len(right_and_sure) / len(right),
        right_when_sure=sum(right_and_sure) / len(right_and_sure),
    )


if __name__ == "__main__":
    for name, part in {"held out": held_out(), "unseen": unseen()}.items():
        print(f"{name}: {part.right:.0%} right; sure of {part.sure:.0%}, and {part.right_when_sure:.0%} of those right")
