"""What identifies a step: branch, name and count."""

from hypothesis import given
from hypothesis import strategies as st

from segue.core.branches import Branch, name_of

NAMES = st.text(st.characters(exclude_characters="/#@", exclude_categories=("C",)), min_size=1, max_size=8)


def test_the_root_has_no_path_and_counts_each_name_apart() -> None:
    root = Branch()
    assert [root.identify(name) for name in ("a", "b", "a", "a", "b")] == ["a", "b", "a#2", "a#3", "b#2"]


def test_a_task_is_named_by_the_order_of_creation() -> None:
    root = Branch()
    first, second = Branch(root.child_path()), Branch(root.child_path())
    assert (first.path, second.path, second.child_path()) == ("1", "2", "2.1")
    assert second.identify("a") == "2/a"


def test_other_names_do_not_shift_an_identity() -> None:
    plain, richer = Branch("1"), Branch("1")
    richer.identify("new")
    assert plain.identify("old") == richer.identify("old") == "1/old"


@given(NAMES, st.integers(1, 5), st.lists(st.integers(1, 9), max_size=4))
def test_the_name_can_be_read_back_from_an_identity(name: str, count: int, path: list[int]) -> None:
    branch = Branch(".".join(map(str, path)))
    assert [name_of(branch.identify(name)) for _ in range(count)] == [name] * count


@given(st.lists(st.tuples(st.booleans(), NAMES), max_size=30))
def test_no_two_calls_of_a_run_share_an_identity(calls: list[tuple[bool, str]]) -> None:
    root = Branch()
    branches, made = [root], list[str]()
    for fork, name in calls:
        if fork:
            branches.append(Branch(branches[-1].child_path()))
        made.append(branches[len(made) % len(branches)].identify(name))
    assert len(set(made)) == len(made)
