"""A run for what was rejected, after all."""

from typing import TYPE_CHECKING

from segue.errors import UsageError
from segue.runtime.tickets import Options
from segue.triggers.webhooks import digest_of, parsed

if TYPE_CHECKING:
    from segue.runtime.engine import Engine
    from segue.runtime.spec import FlowSpec
    from segue.stores.base import Reject


async def start_again(engine: "Engine", spec: "FlowSpec", reject: "Reject") -> str:
    """Start a run for a reject. Gives its id, which is made of the reject's: done twice, there is one run.

    Raises:
        UsageError: it was dealt with, is not kept whole, is a file, or is still no JSON.
        Unstorable: it still does not fit the flow.
    """
    if reject.dealt is not None:
        raise UsageError(f"reject {reject.number} was dealt with before: {reject.dealt}")
    if reject.source.startswith("file "):
        raise UsageError(f"reject {reject.number} is {reject.source}: write it anew, or touch it, and it is looked at")
    if len(reject.body) != reject.size:
        raise UsageError(f"reject {reject.number}: only the beginning of its {reject.size:,} bytes is kept")
    event = spec.event.convert(parsed(reject.body))
    id = f"reject-{digest_of(spec.name, str(reject.number), repr(reject.at))}"
    return (await engine.launch(spec, spec.taking(event), {}, Options(id=id), wait=True)).id
