"""Which model is in use: a folder of models, each named by its hash, and one small file that says which.

The models are copied out of Segue's artifacts, so that they stay however soon old runs are pruned.
"""

import hashlib
import math
import os
from dataclasses import astuple, dataclass
from pathlib import Path

import msgspec
import numpy as np

from retraining import models, trips
from retraining.models import BadModel, Model
from retraining.trips import Trip

PROBES = (Trip(km=1, hour=11, rain=0, stops=1), Trip(km=6, hour=17.5, rain=3, stops=4))
LONGEST = 24 * 60


def home() -> Path:
    """Where trips and models are: ``RETRAINING_HOME``, else beside the runs."""
    return Path(os.environ.get("RETRAINING_HOME") or ".segue/retraining")


class NoModel(LookupError):
    """No model is in use yet."""


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Attributes:
    version: the hash of the model's file.
    before: the one that was in use before; None for the first.
    """

    version: str
    before: str | None = None


@dataclass(frozen=True)
class Prediction:
    """Attributes:
    version: of the model that says so.
    """

    minutes: float
    version: str


@dataclass(frozen=True)
class InUse:
    deployment: Deployment
    model: Model


def current() -> Deployment | None:
    """What is in use; None for nothing yet.

    Raises:
        BadModel: the file that says so is not ours.
    """
    try:
        return msgspec.json.decode((home() / "current.json").read_bytes(), type=Deployment)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadModel(f"current.json does not say which model is in use: {error}") from error


def in_use() -> InUse | None:
    """The model in use, held to its hash.

    Raises:
        BadModel: its file is not what was deployed.
    """
    if (deployment := current()) is None:
        return None
    version = deployment.version
    if len(version) != 64 or not version.isalnum():
        raise BadModel(f"{version!r:.80} is no version of a model")
    data = _file(version).read_bytes()
    if hashlib.sha256(data).hexdigest() != version:
        raise BadModel(f"the file of model {version[:12]} is not what was deployed")
    return InUse(deployment, models.read(data))


def deploy(data: bytes) -> Deployment:
    """Put a model to use. Done twice it is the same.

    Raises:
        BadModel: it is none.
    """
    models.read(data)
    version, used = hashlib.sha256(data).hexdigest(), current()
    if used is not None and used.version == version:
        return used
    trips.write(_file(version), data)
    deployment = Deployment(version, used.version if used is not None else None)
    _switch(deployment)
    return deployment


def withdraw(deployment: Deployment) -> None:
    """Use the model before again, unless another one has come since. Done twice it is the same."""
    if current() == deployment:
        _switch(Deployment(deployment.before) if deployment.before is not None else None)


def _switch(deployment: Deployment | None) -> None:
    file = home() / "current.json"
    if deployment is None:
        file.unlink(missing_ok=True)
    else:
        trips.write(file, msgspec.json.encode(deployment))


def _file(version: str) -> Path:
    return home() / "models" / f"{version}.json"


def predict(trip: Trip) -> Prediction:
    """What the model in use says.

    Raises:
        NoModel: there is none yet.
        BadModel: it is not what was deployed.
    """
    if (used := in_use()) is None:
        raise NoModel("no model is in use yet: segue run examples/retraining")
    said = models.minutes(used.model, np.array([astuple(trip)], dtype=float))
    return Prediction(round(float(said[0]), 1), used.deployment.version)


def probe(deployed: Deployment) -> Prediction:
    """Ask the model in use for trips of which one knows roughly how long they take.

    Raises:
        BadModel: it says nonsense, or is not the one that was deployed.
    """
    said = [predict(trip) for trip in PROBES]
    if any(one.version != deployed.version for one in said):
        raise BadModel(f"{said[0].version[:12]} answers, and not {deployed.version[:12]}")
    if not all(math.isfinite(one.minutes) and 0 < one.minutes < LONGEST for one in said):
        raise BadModel(f"model {deployed.version[:12]} says {', '.join(f'{one.minutes:g}' for one in said)} minutes")
    return said[-1]
