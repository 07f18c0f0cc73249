"""Models: gradient boosting (scikit-learn), taken apart into plain numbers. A model's file is JSON: data, never code.

scikit-learn's own way to keep a model is pickle, and whoever can write such a file executes what they like on every
machine that loads it. Trees are a few numbers each, and following them takes ten lines.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from retraining import trips
from retraining.trips import FEATURES, WEEKS

TREES, DEPTH, LEAF, RATE, SEED = 100, 3, 10, 0.1, 1
MARGIN = 0.05
"""A model may be worse by this part: that much is chance, and it has seen newer trips."""
WORST = 10.0
"""Minutes. The first model of all has nothing to be compared with, and is held to this."""
LONGEST = 4_000_000

Numbers = Annotated[list[float], Meta(min_length=1, max_length=1023)]
Places = Annotated[list[int], Meta(min_length=1, max_length=1023)]


class BadModel(ValueError):
    """A file is no model that can be used here."""


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From node to node, beginning with the first: left where the feature is at most the threshold.

    Attributes:
        left, right: which node is next; -1 at a leaf.
        value: what a leaf says.
    """

    feature: Places
    threshold: Numbers
    left: Places
    right: Places
    value: Numbers


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    data: the hash of the trips that it learned from.
    start, rate: a prediction is ``start`` and ``rate`` of what the trees say.
    """

    kind: Literal["boosted trees"]
    features: list[str]
    data: str
    start: float
    rate: float
    trees: Annotated[list[Tree], Meta(min_length=1, max_length=1000)]


@dataclass(frozen=True)
class Scores:
    """Attributes:
    candidate, in_use: minutes by which the models are off, in the median.
    trips: on how many.
    refusal: why the candidate is not to be used; empty if it is.
    """

    candidate: float
    in_use: float | None
    trips: int
    refusal: str = ""


def train(data: bytes, folder: Path) -> Path:
    """Learn from the trips, and write the model into a file."""
    from sklearn.ensemble import GradientBoostingRegressor

    table = trips.read(data)
    learned = GradientBoostingRegressor(
        n_estimators=TREES, max_depth=DEPTH, min_samples_leaf=LEAF, learning_rate=RATE, random_state=SEED
    )
    learned.fit(table.trips[~table.kept_back], table.minutes[~table.kept_back])
    file = folder / "candidate.json"
    trips.write(file, write(exported(learned, hashlib.sha256(data).hexdigest())))
    return file


def exported(learned: Any, data: str) -> Model:
    """The numbers of a model that scikit-learn has fitted."""
    trees = [
        Tree(
            feature=np.maximum(tree.feature, 0).tolist(),
            threshold=tree.threshold.tolist(),
            left=tree.children_left.tolist(),
            right=tree.children_right.tolist(),
            value=tree.value[:, 0, 0].tolist(),
        )
        for tree in (one.tree_ for one in learned.estimators_[:, 0])
    ]
    start = float(learned.init_.constant_[0, 0])
    return Model("boosted trees", list(FEATURES), data, start, float(learned.learning_rate), trees)


def write(model: Model) -> bytes:
    return msgspec.json.encode(model)


def read(data: bytes) -> Model:
    """A model from its file, whoever wrote that.

    Raises:
        BadModel: it is none, or one for other trips.
    """
    if len(data) > LONGEST:
        raise BadModel(f"a model's file has {LONGEST:,} bytes at most; this one has {len(data):,}")
    try:
        model = msgspec.json.decode(data, type=Model)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadModel(f"this is no model: {error}") from error
    if tuple(model.features) != FEATURES:
        raise BadModel(f"it is a model of {', '.join(model.features)!r:.100}, not of {', '.join(FEATURES)}")
    for number, tree in enumerate(model.trees):
        if problem := _problem(tree):
            raise BadModel(f"tree {number} {problem}")
    return model


def _problem(tree: Tree) -> str:
    """Nodes lead on only, so that each way has an end."""
    nodes = len(tree.value)
    if {len(tree.feature), len(tree.threshold), len(tree.left), len(tree.right)} != {nodes}:
        return "has columns of different lengths"
    if not all(0 <= feature < len(FEATURES) for feature in tree.feature):
        return "asks for what a trip has not"
    for node, ways in enumerate(zip(tree.left, tree.right, strict=True)):
        if ways != (-1, -1) and not all(node < way < nodes for way in ways):
            return f"has a node {node} that leads nowhere, or back"
    return ""


def minutes(model: Model, given: NDArray[np.float64]) -> NDArray[np.float64]:
    """How long the trips take, by this model."""
    rows = given.astype(np.float32)  # as scikit-learn compares them
    said = np.full(len(rows), model.start)
    for tree in model.trees:
        said += model.rate * _follow(tree, rows)
    return said


def _follow(tree: Tree, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    feature, threshold = np.array(tree.feature), np.array(tree.threshold)
    left, right = np.array(tree.left), np.array(tree.right)
    at = np.zeros(len(rows), dtype=np.intp)
    while (inner := np.flatnonzero(left[at] >= 0)).size:
        here = at[inner]
        goes_left = rows[inner, feature[here]] <= threshold[here]
        at[inner] = np.where(goes_left, left[here], right[here])
    return cast("NDArray[np.float64]", np.array(tree.value)[at])


def compare(candidate: Model, used: Model | None, data: bytes) -> Scores:
    """Two models on what was kept back of the newest trips, and whether the first may take the place of the second."""
    table = trips.read(data)
    given, took = table.trips[table.kept_back], table.minutes[table.kept_back]
    newest = max(1, len(took) // WEEKS)
    given, took = given[-newest:], took[-newest:]
    off = _off(candidate, given, took)
    before = None if used is None else _off(used, given, took)
    return Scores(off, before, len(took), _refusal(off, before))


def _off(model: Model, given: NDArray[np.float64], took: NDArray[np.float64]) -> float:
    """The median: a day of nonsense among the trips that models are compared on must not decide."""
    return round(float(np.median(np.abs(minutes(model, given) - took))), 3)


def _refusal(off: float, before: float | None) -> str:
    if before is None:
        return "" if off <= WORST else f"it is off by {off:.2f} minutes; the first model may be by {WORST:g}"
    if off <= before * (1 + MARGIN):
        return ""
    return f"it is off by {off:.2f} minutes, and the model in use by {before:.2f}"
