"""``python measure.py [SLIPS OF EACH KIND]``: how good the models of this example are, each by itself."""

import os
import sys
import time
from collections import Counter
from dataclasses import astuple
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from crediflow import applicants, credit, fraud, payslips, readers
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"income right / not found / wrong, of {count} payslips of each kind")
    with TemporaryDirectory() as folder:
        measure_readers(Path(folder), count)
    print(f"area under the curve, five folds: fraud {fraud_auc():.2f}, credit {credit_auc():.2f}")


def measure_readers(folder: Path, count: int) -> None:
    rapid, seconds, reads = readers.Rapid(), Counter[str](), Counter[str]()

    def timed(what: str, work: Any) -> Any:
        started = time.process_time() + sum(_of_children())
        done = work()
        seconds[what] += round(1000 * (time.process_time() + sum(_of_children()) - started))
        reads[what] += 1
        return done

    for kind in payslips.Kind:
        for restored in (False, True):
            scores = {reader: Counter[str]() for reader in ("tesseract", "rapidocr", "both agree")}
            for number in range(count):
                slip = applicants.applicant(1, number, kind).payslip
                file = payslips.write(slip, Random(number), folder)
                if restored:
                    timed("restoring", partial(restore, file))
                first = timed("tesseract", partial(readers.tesseract, file)).income
                second = timed("rapidocr", partial(rapid.read, file)).income
                found = {"tesseract": first, "rapidocr": second, "both agree": first if first == second else None}
                for reader, income in found.items():
                    scores[reader][score(income, slip.income)] += 1
            shown = "  ".join(f"{reader} {c['right']}/{c['none']}/{c['wrong']}" for reader, c in scores.items())
            print(f"{kind:<11} {'restored' if restored else 'as scanned':<11} {shown}", flush=True)
    print("processor time: " + ", ".join(f"{what} {seconds[what] / reads[what]:.0f} ms" for what in reads))


def _of_children() -> tuple[float, float]:
    """Tesseract is a program of its own."""
    times = os.times()
    return times.children_user, times.children_system


def restore(file: Path) -> None:
    with Image.open(file) as picture:
        readers.restored(picture).save(file)


def score(income: float | None, printed: float) -> str:
    return "none" if income is None else "right" if income == printed else "wrong"


def fraud_auc() -> float:
    """How well those who are known for fraud are told from the others, by classifiers not trained on them."""
    known, frauds = fraud.people()
    network = fraud.Network(known, frauds)
    places = np.array([astuple(network.place(identity, person)) for person, identity in known.items()])
    return _auc(fraud.untrained(), places, np.array([person in frauds for person in known]))


def credit_auc() -> float:
    """How well those who paid are told from the others, by models not trained on them."""
    return _auc(credit.untrained(), *credit.borrowers())


@threadpool_limits.wrap(limits=1)
def _auc(untrained: Any, facts: Any, truth: Any) -> float:
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    odds = np.asarray(cross_val_predict(untrained, facts, truth, cv=folds, method="predict_proba"))
    return float(roc_auc_score(truth, odds[:, 1]))


if __name__ == "__main__":
    main()
