"""``segue inbox``: what runs ask people, and the answers."""

from typing import TYPE_CHECKING, Any

import click

from segue.cli.options import json_output, name_of_user, with_name, with_store, with_store_argument

if TYPE_CHECKING:
    from segue.inbox import Question


@click.group(invoke_without_command=True, short_help="See what runs ask people, and answer.")
@click.option("--flow", metavar="NAME", help="Only what runs of this flow ask.")
@click.option("--assignee", metavar="NAME", help="Only what this person is asked.")
@click.option("--all", "everything", is_flag=True, help="Also what was decided: by whom, when.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most so many, oldest first.")
@json_output
@with_store
@click.pass_context
def inbox(
    context: click.Context,
    flow: str | None,
    assignee: str | None,
    everything: bool,
    limit: int,
    as_json: bool,
    store: str | None,
) -> None:
    """List the questions that wait for an answer, oldest first."""
    if context.invoked_subcommand is not None:
        return
    from segue.cli.archive import at_once

    at_once(_list(flow, assignee, everything, limit, as_json, store))


@inbox.command(short_help="Show one question, with all that belongs to it.")
@click.argument("question")
@json_output
@with_store
def show(question: str, as_json: bool, store: str | None) -> None:
    """Show a question: what it is about, what an answer has to be, and who decided it.

    QUESTION is an id, or the beginning of one.
    """
    from segue.cli.archive import at_once

    found = at_once(_one(question, store))
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text(as_data(found)))
    else:
        print_question(found, with_store_argument(store))


@inbox.command(short_help="Answer a question.")
@click.argument("question")
@click.option("--value", metavar="JSON", required=True, help="The answer as JSON; @FILE reads a file, - stdin.")
@with_name
@json_output
@with_store
def answer(question: str, value: str, by: str | None, as_json: bool, store: str | None) -> None:
    """Answer a question. It counts once: whoever comes second is told who was first.

    QUESTION is an id, or the beginning of one. A choice or text may be given as it is, without JSON's quotes.
    """
    import asyncio

    decided = asyncio.run(_answer(question, value, name_of_user(by), store))
    if as_json:
        from segue.cli.text import as_text

        click.echo(as_text(as_data(decided)))
    else:
        from segue.cli.text import say

        say(f"question {decided.id} is answered; run {decided.run} goes on as soon as a worker has it")


async def _list(
    flow: str | None, assignee: str | None, everything: bool, limit: int, as_json: bool, url: str | None
) -> None:
    from segue import inbox
    from segue.cli.archive import NoStore, archive
    from segue.cli.text import as_text, say

    nothing, now, found = "", 0.0, list["Question"]()
    try:
        async with archive(url) as store:
            found = await inbox.questions(
                flow=flow, assignee=assignee, open=not everything, limit=limit, store=store.store
            )
            now = store.now()
            if not found:
                nothing = await store.misnamed(flow) or f"nobody is asked anything in {store.store.url}"
    except NoStore as error:
        say(str(error))
    if as_json:
        click.echo(as_text([as_data(question) for question in found]))
    elif found:
        _print(found, now)
        if len(found) == limit:
            say(f"the oldest {limit}; more with --limit")
    elif nothing:
        say(nothing)


async def _one(id: str, url: str | None) -> "Question":
    from segue import inbox
    from segue.cli.archive import archive

    async with archive(url) as store:
        return await inbox.question(id, store=store.store)


async def _answer(id: str, value: str, by: str, url: str | None) -> "Question":
    from segue import inbox
    from segue.cli.archive import archive

    async with archive(url) as store:
        question = await inbox.question(id, store=store.store)
        return await inbox.answer(question.id, read_answer(question, value), by=by, store=store.store)


def read_answer(question: "Question", given: str) -> Any:
    """An answer as it was typed: JSON, or the text itself where text is asked for.

    Raises:
        UsageError: it is neither.
    """
    from segue.cli.given import parse, read_input
    from segue.errors import UsageError
    from segue.schemas import misfits

    short = {"yes": True, "y": True, "no": False, "n": False}
    if question.schema == {"type": "boolean"} and given.lower() in short:
        return short[given.lower()]
    plain_text = bool(question.schema) and given not in ("", "-") and not given.startswith("@")
    try:
        value = parse(read_input(given, "--value"), "--value")
    except UsageError as error:
        if plain_text and not misfits(question.schema, given):
            return given  # a choice, or text
        problem = f"{given!r:.80} does not fit" if plain_text and given[0].isalpha() else str(error)
        raise UsageError(f"{problem}. The answer has to be {question.wanted}") from None
    if plain_text and misfits(question.schema, value) and not misfits(question.schema, given):
        return given  # text that happens to be JSON, such as a number
    return value


def as_data(question: "Question") -> dict[str, Any]:
    """A question as plain data."""
    return {
        "id": question.id,
        "question": question.text,
        "run": question.run,
        "flow": question.flow,
        "step": question.step,
        "assignee": question.assignee,
        "asked": question.asked,
        "due": question.due,
        "shown": question.shown,
        "status": question.fate,
        "decided": question.decided,
        "by": question.by,
        "answer": question.value,
    }


def _print(found: "list[Question]", now: float) -> None:
    from segue.cli.lines import Text, out
    from segue.cli.text import duration, one_line, shorten

    console = out()
    rows = [(q, duration(now - q.asked), _standing(q, now), one_line(q.assignee or "anybody")) for q in found]
    age, stand, whose = (max([4, *map(len, column)]) for column in list(zip(*(row[1:] for row in rows), strict=True)))
    head = f"{'question':<12}  {'age':<{age}}  {'answer':<{stand}}  {'for':<{whose}}  asks"
    console.print(Text(head, style="dim"))
    for question, asked, standing, assignee in rows:
        line = Text(f"{question.id:<12}  {asked:<{age}}  ")
        line.append(f"{standing:<{stand}}", style="" if question.fate == "open" else "dim")
        line.append(f"  {assignee:<{whose}}  ")
        room = console.width - len(line)
        line.append(shorten(one_line(f"{question.text}  ({question.flow})"), max(20, room)))
        console.print(line)


def _standing(question: "Question", now: float) -> str:
    from segue.cli.text import duration, one_line

    if question.fate == "answer":
        return f"by {one_line(question.by or '')}"
    if question.fate != "open":
        return {"nobody": "too late"}.get(question.fate, question.fate)
    reminded = f", reminded {n}×" if (n := question.reminded(now)) else ""
    if question.due is None:
        return f"waits{reminded}"
    return f"overdue{reminded}" if question.due <= now else f"within {duration(question.due - now)}{reminded}"


def print_question(question: "Question", store: str = "", *, how: bool = True) -> None:
    """A question with all that belongs to it.

    Args:
        how: say how to answer it.
    """
    from segue.cli.lines import Text, err, out
    from segue.cli.text import clock, one_line, visible

    console = out() if how else err()
    console.print(Text(visible(question.text), style="bold"))
    whose = f"for {one_line(question.assignee)}" if question.assignee else "for anybody"
    facts = [f"question {question.id}", whose, f"asked {clock(question.asked)}"]
    facts.append(f"by step {one_line(question.step)} of run {one_line(question.run)}, {one_line(question.flow)}")
    if question.due is not None:
        facts.append(f"until {clock(question.due)}")
    console.print(Text("  " + "  ".join(facts), style="dim"))
    if "refused" in question.shown:
        console.print(Text(f"  {visible(str(question.shown['refused']))}", style="yellow"))
    for name in ("about", "input", "failure", "raw", "default"):
        if question.shown.get(name) not in (None, ""):
            print_value(console, name, question.shown[name])
    if question.fate != "open":
        _print_decision(console, question)
    else:
        console.print(Text(f"  an answer is {visible(question.wanted)}"))
        if how:
            value = "CHOICE" if question.choices else "JSON"
            console.print(Text(f"  segue inbox answer {question.id} --value {value}{store}", style="dim"))


def print_value(console: Any, name: str, value: Any) -> None:
    """A value under its name."""
    from segue.cli.lines import Text
    from segue.cli.text import as_text, visible

    label = {"raw": "refused", "input": "input", "default": "otherwise"}.get(name, name)
    shown = visible(value) if isinstance(value, str) else as_text(value)
    if len(shown) > console.width - len(label) - 4 and not isinstance(value, str):
        shown = as_text(value, 2)
    first, *rest = shown.split("\n")
    head = Text(f"  {label}  ", style="cyan")
    head.append(first, style="default")
    console.print(head)
    for line in rest:
        console.print(Text(f"{' ' * (len(label) + 4)}{line}"))


def _print_decision(console: Any, question: "Question") -> None:
    from segue.cli.lines import Text
    from segue.cli.text import as_text, clock, one_line

    at = clock(question.decided or 0.0)
    words = {"nobody": f"nobody had answered in time, {at}", "withdrawn": f"withdrawn by its run, {at}"}
    said = words.get(question.fate) or f"answered by {one_line(question.by or '')}, {at}: {as_text(question.value)}"
    console.print(Text(f"  {said}", style="green" if question.fate == "answer" else "yellow"))
