"""What identifies a step within its run: the path of task creation, its name, and how often it was asked there.

Two branches of a ``gather`` may finish in any order, live or replayed: each finds its own results, because its path
says which task it is (first, second, …) and not when it ran. Other names may come and go within a branch without
shifting anything.
"""

from segue.types import StepId


class Branch:
    """One task of a flow. The flow's own body is the root, with an empty path."""

    __slots__ = ("children", "counts", "path", "prefix")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.prefix = f"{path}/" if path else ""
        self.children = 0
        self.counts: dict[str, int] = {}

    def child_path(self) -> str:
        """The path of the next task created here.

        >>> branch = Branch("2"); branch.child_path(), branch.child_path()
        ('2.1', '2.2')
        """
        self.children += 1
        return f"{self.path}.{self.children}" if self.path else str(self.children)

    def identify(self, name: str) -> StepId:
        """The identity of the next call of that name here.

        >>> branch = Branch("1"); branch.identify("fetch"), branch.identify("fetch")
        ('1/fetch', '1/fetch#2')
        """
        counts = self.counts
        count = counts[name] = counts.get(name, 0) + 1
        return StepId(f"{self.prefix}{name}" if count == 1 else f"{self.prefix}{name}#{count}")


def items_of_one_map(first: str, second: str) -> bool:
    """Whether two steps are those of two items of one ``map``: how many it has in hand decides when each is asked for.

    >>> items_of_one_map("1/fetch@map[3]/fetch", "1/fetch@map[12]/fetch")
    True
    """
    return "@map" in first and first.rpartition("[")[0] == second.rpartition("[")[0]


def name_of(step: str) -> str:
    """The step's name, out of its identity.

    >>> name_of("1.2/fetch#3")
    'fetch'
    """
    return step.rpartition("/")[2].partition("#")[0]


def undo_path(step: str) -> str:
    """The branch in which a step is undone.

    >>> undo_path("1/charge#2")
    '@undo(1/charge#2)'
    """
    return f"@undo({step})"


def undone_step(step: str) -> str | None:
    """The step that this one undoes, if it does.

    >>> undone_step("@undo(1/charge#2)/refund"), undone_step("1/charge#2")
    ('1/charge#2', None)
    """
    if not step.startswith("@undo("):
        return None
    return step.removeprefix("@undo(").rpartition(")/")[0]


SIGNAL = "signal:"
"""What the name of mail begins with that brings a signal."""


def signal_step(name: str) -> StepId:
    """What the entry of a signal is called, when it comes."""
    return StepId(f"@signal.{name}")


def wait_name(name: str) -> str:
    """What a wait for a signal is called among the steps of its task."""
    return f"@wait.{name}"
