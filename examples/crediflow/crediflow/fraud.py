"""Fraud: whom does an applicant share a phone, an address, a device or an employer with?

A graph of people and of what they gave as theirs (networkx), features of an applicant's place in it, and a classifier
(scikit-learn). The people are made up, from a seed: 1,500 who had a loan, a tenth of whom, in rings, never meant to
pay.
"""

from dataclasses import astuple, dataclass, replace
from functools import cache
from random import Random

import networkx as nx
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

SEED = 11
PERSON = "person "
PEOPLE, RINGS, RING_SIZE = 1350, 30, 5
EMPLOYERS = (
    "Northwind Logistics Ltd",
    "Brightwater Care",
    "Hollis Joinery",
    "Meridian Foods",
    "Castle Street School",
    "Ashford Rail",
    "Pinewood Clinic",
    "Tidewater Energy",
)
FAR = 9
"""How many steps away known fraud counts as, where there is none within reach."""
REACH = 6


@dataclass(frozen=True)
class Identity:
    """What an applicant gave as theirs."""

    phone: str
    address: str
    device: str
    employer: str


@dataclass(frozen=True)
class Features:
    """An applicant's place in the graph.

    Attributes:
        component: how many people hang together by phones, addresses and devices.
        on_phone, on_device, at_address: others who gave the same.
        pagerank: of the busiest thing that is shared with others, 1 for an average one; 0 if nothing is shared.
        to_fraud: steps to the nearest person known for fraud, 2 for one who shares something; ``FAR`` if there is none.
        colleagues_in_fraud: the share of known fraud among those who gave the same employer.
    """

    component: int
    on_phone: int
    on_device: int
    at_address: int
    pagerank: float
    to_fraud: int
    colleagues_in_fraud: float


@dataclass(frozen=True)
class FraudScore:
    """Attributes:
    score: 0 to 1, how much an applicant looks like those who never meant to pay.
    shares_with_fraud: what is shared with people who are known for fraud, such as ``"phone +44 7700 900123"``.
    features: what the score was made of.
    """

    score: float
    shares_with_fraud: list[str]
    features: Features


NO_SCORE = FraudScore(-1.0, [], Features(0, 0, 0, 0, 0.0, FAR, 0.0))
"""What a model that has failed gives; no gate lets it through."""


class Network:
    """The people we know, and their places in the graph."""

    def __init__(self, known: dict[str, Identity], frauds: set[str]) -> None:
        self._frauds = frauds
        self._graph, self._colleagues = _graph_of(known), _colleagues(known)
        ranks = nx.pagerank(self._graph)
        self._ranks = {node: rank * len(ranks) for node, rank in ranks.items()}

    def place(self, identity: Identity, person: str = "") -> Features:
        """An applicant's place.

        Args:
            person: if it is one whom we know. What became of them is left out, so that it can be learned from.
        """
        given = given_by(identity)
        near = self._near(given, person)
        others = {kind: self._people_with(node) - {person} for kind, node in given.items()}
        colleagues = self._colleagues.get(identity.employer, set()) - {person}
        return Features(
            component=1 + sum(1 for node in near if node.startswith(PERSON)),
            on_phone=len(others["phone"]),
            on_device=len(others["device"]),
            at_address=len(others["address"]),
            pagerank=max((self._ranks[node] for kind, node in given.items() if others[kind]), default=0.0),
            to_fraud=min((steps for node, steps in near.items() if node in self._frauds), default=FAR),
            colleagues_in_fraud=len(colleagues & self._frauds) / max(1, len(colleagues)),
        )

    def shared_with_fraud(self, identity: Identity) -> list[str]:
        """What the applicant shares with people who are known for fraud."""
        return [node for node in given_by(identity).values() if self._people_with(node) & self._frauds]

    def _people_with(self, node: str) -> set[str]:
        return set(self._graph[node]) if node in self._graph else set()

    def _near(self, given: dict[str, str], person: str) -> dict[str, int]:
        """Who and what hangs together with the applicant, and how many steps away it is."""
        seen = dict.fromkeys(given.values(), 1)
        edge = list(seen)
        for steps in range(2, REACH + 1):
            reached = {other for node in edge if node in self._graph for other in self._graph[node]} - {person}
            edge = [node for node in sorted(reached) if node not in seen]
            seen |= dict.fromkeys(edge, steps)
        return seen


class Detector:
    """A network, and a classifier trained on what became of the loans of the people in it."""

    def __init__(self, network: Network, fitted: Pipeline) -> None:
        self._network, self._fitted = network, fitted

    def score(self, identity: Identity) -> FraudScore:
        features = self._network.place(identity)
        odds = self._fitted.predict_proba([astuple(features)])[0, 1]
        return FraudScore(float(odds), self._network.shared_with_fraud(identity), features)


@threadpool_limits.wrap(limits=1)
def train() -> Detector:
    """The same detector each time: all of it comes from one seed."""
    known, frauds = people()
    network = Network(known, frauds)
    rows = [astuple(network.place(identity, person)) for person, identity in known.items()]
    return Detector(network, untrained().fit(np.array(rows), [person in frauds for person in known]))


def untrained() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))


def people() -> tuple[dict[str, Identity], set[str]]:
    """Everybody we know, and who of them is known for fraud."""
    random = Random(SEED)
    known = {f"{PERSON}{n}": honest(random) for n in range(PEOPLE)}
    for n in range(0, PEOPLE, 9):  # couples, and flats that are let again: to share an address is no crime
        known[f"{PERSON}{n + 1}"] = replace(known[f"{PERSON}{n + 1}"], address=known[f"{PERSON}{n}"].address)
    frauds: set[str] = set()
    for ring, shared in enumerate(known_rings()):
        for member in range(RING_SIZE):
            name = f"{PERSON}{PEOPLE + ring * RING_SIZE + member}"
            known[name] = member_of(shared, random)
            if random.random() < 0.8:  # of the others it has not come out
                frauds.add(name)
    return known, frauds


@cache
def known_rings() -> list[list[Identity]]:
    """What the rings that we know of share."""
    random = Random(f"{SEED} rings")
    return [ring_of(random) for _ in range(RINGS)]


def ring_of(random: Random) -> list[Identity]:
    """Two sets of what the members of a ring have between them."""
    where = address(random)
    return [replace(honest(random), address=where) for _ in range(2)]


def member_of(shared: list[Identity], random: Random) -> Identity:
    """A member of a ring: two thirds of what they give is the ring's."""

    def one_of(kind: str) -> str:
        return getattr(random.choice([*shared, honest(random)]), kind)

    return Identity(one_of("phone"), one_of("address"), one_of("device"), random.choice(EMPLOYERS))


def honest(random: Random) -> Identity:
    return Identity(phone(random), address(random), device(random), random.choice(EMPLOYERS))


def phone(random: Random) -> str:
    return f"+44 7700 {random.randrange(1_000_000):06d}"


def address(random: Random) -> str:
    street = random.choice(["Mill Lane", "Station Road", "Church Street", "Harbour View", "Elm Grove", "Castle Street"])
    return f"{random.randint(1, 400)} {street}, {random.choice(['Leeds', 'York', 'Hull', 'Bath', 'Derby', 'Exeter'])}"


def device(random: Random) -> str:
    return f"{random.getrandbits(48):012x}"


def given_by(identity: Identity) -> dict[str, str]:
    """What connects a person with others, as nodes of the graph. The employer does not: it would connect everybody."""
    return {kind: f"{kind} {getattr(identity, kind)}" for kind in ("phone", "address", "device")}


def _graph_of(known: dict[str, Identity]) -> nx.Graph:
    """People on one side, what they gave on the other."""
    graph = nx.Graph()
    for person, identity in known.items():
        graph.add_edges_from((person, node) for node in given_by(identity).values())
    return graph


def _colleagues(known: dict[str, Identity]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for person, identity in known.items():
        found.setdefault(identity.employer, set()).add(person)
    return found
