"""``webhook``: a signed request starts a run, and is acknowledged when that is durable.

Requests are signed as https://www.standardwebhooks.com has it. The run's id is made of the delivery's: sent again
after a crash, or twice, there is one run.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from segue.errors import Conflict, DeclarationError, OwnKey, QueueFull, StoreError, Unstorable, UsageError, shortened
from segue.policies import Duration, seconds
from segue.runtime.default import on_engine
from segue.runtime.tickets import Options
from segue.stores.base import Reject
from segue.triggers.secrets import Env, is_signed

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from segue.runtime.engine import Engine
    from segue.runtime.spec import FlowSpec
    from segue.runtime.tickets import Ticket

log = logging.getLogger("segue")

HEALTH = "/healthz"
PATIENCE = 10.0
"""Seconds that a sender has for its headers, and again for its body."""

AGAIN_AFTER = 5
"""Seconds after which a sender may try again."""

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_STAMP = re.compile(r"[0-9]{1,12}")
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True, slots=True)
class Webhook:
    """See ``webhook``."""

    path: str
    secrets: tuple[Env, ...]
    tolerance: float
    limit: int

    def problem(self, spec: "FlowSpec") -> str:
        """Why it cannot start this flow; nothing if it can."""
        try:
            spec.event  # noqa: B018 - it is made here, or not at all
        except UsageError as error:
            return str(error)
        except (DeclarationError, ValueError):  # an annotation names what is defined further down
            pass
        return ""


def webhook(
    path: str,
    *,
    secret: Env | Sequence[Env] = (),
    tolerance: Duration = "5m",
    limit: int | str = "1MiB",
    unsigned: bool = False,
) -> Webhook:
    """Start a run for each request that is posted to a path: its body is the flow's parameter, as JSON.

    Args:
        path: such as ``"/traffic"``.
        secret: what senders sign with: ``env("NAME")``. With several, each will do: that is how one is replaced.
        tolerance: how far a request's time may be from ours.
        limit: bytes of a body at most: a number, or text such as ``"1MiB"``.
        unsigned: anybody who reaches the path may start runs.

    Raises:
        DeclarationError: one of these cannot be; a secret stands in the code.

    >>> @flow(on=[webhook("/traffic", secret=env("TRAFFIC_SECRET"))])
    ... async def reroute(event: Event) -> None: ...
    """
    if not isinstance(path, str) or not _PATH.fullmatch(path) or path == HEALTH:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"webhook: a path is such as '/traffic', and not {HEALTH}: {path!r:.80} cannot be one")
    declared = f"webhook({path!r})"
    if isinstance(unsigned, str) or not isinstance(unsigned, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeclarationError(f"{declared}: unsigned is True or False")
    given: Any = (secret,) if isinstance(secret, Env) else secret
    if isinstance(given, str | bytes):
        raise DeclarationError(f'{declared}: a secret does not belong into code: secret=env("NAME") reads it')
    several: list[Any] = list(cast("Sequence[Any]", given)) if isinstance(given, list | tuple) else [None]
    if not all(isinstance(one, Env) for one in several):
        raise DeclarationError(f'{declared}: secret is env("NAME"), or a list of such')
    if bool(several) == unsigned:
        hint = "it is signed or not: give secret or unsigned=True" if unsigned else 'give secret=env("NAME")'
        raise DeclarationError(f"{declared}: {hint}; without a secret anybody may start runs: unsigned=True")
    return Webhook(path, tuple(several), seconds(tolerance), _size(declared, limit))


def _size(declared: str, limit: Any) -> int:
    if isinstance(limit, str) and (match := _SIZE.fullmatch(limit)):
        limit = int(match[1]) * _UNITS[match[2]]
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise DeclarationError(f"{declared}: limit is bytes, or text such as '1MiB', not {limit!r:.80}")
    return limit


class _Answer(Exception):
    """What a request is answered that starts no run."""

    def __init__(self, status: int, error: str, **more: Any) -> None:
        self.status, self.said = status, {"error": error, **more}


class _Delivery(NamedTuple):
    """A request that may be believed.

    Attributes:
        id: the sender's name for it; None if it has none.
    """

    id: str | None
    body: bytes


class _Hook:
    """One flow at one path."""

    def __init__(self, engine: "Engine", spec: "FlowSpec", declared: Webhook, patience: float) -> None:
        self.engine, self.spec, self.declared, self.patience = engine, spec, declared, patience
        self.secrets = [secret.read() for secret in declared.secrets]
        self.event = spec.event

    async def __call__(self, request: "Request") -> "Response":
        from starlette.responses import JSONResponse

        try:
            delivery = self._believed(request, await self._body(request))
            ticket = await on_engine(self.engine, self._started(delivery))
        except _Answer as answer:
            more = {"retry-after": str(AGAIN_AFTER)} if answer.status == 503 else {}
            if answer.status in (408, 413):
                more["connection"] = "close"  # the rest of it is not read
            return JSONResponse(answer.said, answer.status, more)
        return JSONResponse({"run": ticket.id}, 200 if ticket.found else 202)

    async def _body(self, request: "Request") -> bytes:
        from starlette.requests import ClientDisconnect

        limit, body = self.declared.limit, bytearray()
        too_long = _Answer(413, f"a body has {limit} bytes at most")
        told = request.headers.get("content-length", "0")
        if not (told.isascii() and told.isdigit()) or len(told) > 18 or int(told) > limit:
            raise too_long
        try:
            async with asyncio.timeout(self.patience):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_long
        except TimeoutError:
            raise _Answer(408, f"the body did not come within {self.patience:g} s") from None
        except ClientDisconnect:
            raise _Answer(400, "the body did not come") from None
        return bytes(body)

    def _believed(self, request: "Request", body: bytes) -> _Delivery:
        headers = request.headers
        if not self.secrets:
            id = headers.get("idempotency-key")
            if id is not None and not _ID.fullmatch(id):
                raise _Answer(400, "idempotency-key: 1 to 256 printable characters of ASCII, without spaces")
            return _Delivery(id, body)
        names = "webhook-id", "webhook-timestamp", "webhook-signature"
        if lacking := [name for name in names if name not in headers]:
            raise _Answer(401, f"it has no {', '.join(lacking)}")
        id, timestamp, signatures = (headers[name] for name in names)
        if not _ID.fullmatch(id) or not _STAMP.fullmatch(timestamp):
            raise _Answer(401, "webhook-id or webhook-timestamp is none")
        if not is_signed(self.secrets, signatures.encode("latin-1"), id.encode(), timestamp.encode(), body):
            raise _Answer(401, "the signature is by no secret that counts here")
        if abs(self.engine.clock() - int(timestamp)) > self.declared.tolerance:
            raise _Answer(401, f"webhook-timestamp is more than {self.declared.tolerance:g} s from now")
        return _Delivery(id, body)

    async def _started(self, delivery: _Delivery) -> "Ticket":
        if not self.engine.is_open:
            raise _Answer(503, "it is being shut down")
        try:
            event = self._read(delivery.body)
            return await self.engine.launch(
                self.spec, self.spec.taking(event), {}, Options(id=self._run(delivery.id)), wait=True
            )
        except (QueueFull, StoreError) as error:
            log.warning("webhook %s: not now: %s", self.declared.path, error)
            raise _Answer(503, "it cannot be taken now" if isinstance(error, StoreError) else str(error)) from None
        except Conflict as error:
            said = "this id came before, with another body" if delivery.id else "this event came before, otherwise"
            raise await self._rejected(409, delivery, said, str(error)) from None
        except (Unstorable, UsageError, OwnKey, TypeError, RecursionError) as error:
            if not self.engine.is_open:
                raise _Answer(503, "it is being shut down") from None
            raise await self._rejected(400, delivery, str(error)) from None

    def _read(self, body: bytes) -> Any:
        return self.event.convert(parsed(body))

    def _run(self, id: str | None) -> str | None:
        if id is None:
            return None
        return f"webhook-{digest_of(self.spec.name, self.declared.path, id)}"

    async def _rejected(self, status: int, delivery: _Delivery, reason: str, more: str = "") -> _Answer:
        source = f"webhook {self.declared.path}"
        once = digest_of(source, self.spec.name, delivery.id or "", hashlib.sha256(delivery.body).hexdigest())
        kept = f"{reason}: {more}" if more else reason
        reject = made_reject(source, kept, self.spec.name, once, delivery.body, len(delivery.body))
        try:
            number = await self.engine.store.reject(reject)
        except StoreError as error:
            log.warning("webhook %s: a reject could not be kept: %s", self.declared.path, error)
            return _Answer(503, "it cannot be taken, and not be kept now")
        return _Answer(status, reason, reject=number)


def parsed(body: bytes) -> Any:
    """Strict JSON.

    Raises:
        UsageError: it is none.
    """
    import msgspec

    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise UsageError("it is nested too deeply to be read") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise UsageError(f"it is not JSON: {error}") from None


def digest_of(*parts: str) -> str:
    """A name made of some others."""
    text = "\0".join(f"{len(part)} {part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def made_reject(source: str, reason: str, flow: str, once: str, body: bytes, size: int) -> Reject:
    """What could not be taken, as it is kept. Its text is text, however hostile the sender."""
    source, reason = (text.encode("utf-8", "backslashreplace").decode() for text in (source, reason))
    return Reject(0, source, 0.0, shortened(reason, 2000), flow, body, size, once=once)


def specs_of(flows: Collection[Any]) -> "list[FlowSpec]":
    """What flows declare."""
    return [getattr(flow, "spec", flow) for flow in flows]


def app(engine: "Engine", flows: Collection[Any], *, patience: float = PATIENCE) -> "Starlette":
    """The webhooks of some flows as an ASGI application, to be served alone or mounted into another.

    Args:
        engine: in which runs are started. It must be open while requests are answered.
        flows: those without webhooks do not matter.
        patience: seconds that a sender has for a body.

    Raises:
        DeclarationError: two of them have one path.
        UsageError: a secret is not in the environment, or what serves is not installed.

    >>> api = FastAPI(lifespan=...)
    >>> api.mount("/hooks", app(engine, [reroute]))
    """
    _installed()
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    hooks: dict[str, _Hook] = {}
    for spec in specs_of(flows):
        for declared in spec.on:
            if not isinstance(declared, Webhook):
                continue
            if (other := hooks.get(declared.path)) is not None:
                raise DeclarationError(
                    f"webhook({declared.path!r}) is of flow {other.spec.name!r} and of {spec.name!r}: give each its own"
                )
            hooks[declared.path] = _Hook(engine, spec, declared, patience)

    async def health(request: "Request") -> "Response":
        up = engine.is_open
        return JSONResponse({"ok": up}, 200 if up else 503)

    async def refused(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, HTTPException)
        headers = {**(error.headers or {}), "connection": "close"}
        return JSONResponse({"error": error.detail}, error.status_code, headers)

    routes = [Route(path, _endpoint(hook), methods=["POST"]) for path, hook in hooks.items()]
    made = Starlette(
        routes=[*routes, Route(HEALTH, health, methods=["GET"])], exception_handlers={HTTPException: refused}
    )
    made.router.redirect_slashes = False
    return made


def _endpoint(hook: _Hook) -> Any:
    async def endpoint(request: "Request") -> "Response":
        return await hook(request)

    return endpoint


def _installed() -> None:
    try:
        import starlette  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UsageError(
            f"webhooks are served by starlette and uvicorn: pip install segue[triggers] ({error})"
        ) from None


class Listening(NamedTuple):
    """A server that takes requests.

    Attributes:
        host, port: where; of port 0, which one it was given.
        paths: of its webhooks.
    """

    host: str
    port: int
    paths: tuple[str, ...]


@asynccontextmanager
async def listening(
    engine: "Engine", flows: Collection[Any], host: str = "127.0.0.1", port: int = 0, *, patience: float = PATIENCE
) -> AsyncGenerator[Listening, None]:
    """Serve the webhooks of some flows, until the block is left: what is being answered then is answered first.

    Args:
        host: this machine alone, unless said otherwise. TLS is for a proxy in front of it.
        port: 0 for any that is free.
        patience: seconds that a sender has for its headers, and again for its body.

    Raises:
        DeclarationError, UsageError: as ``app``; the address cannot be listened at.
    """
    made = app(engine, flows, patience=patience)
    from segue.triggers.server import serving

    paths = tuple(d.path for spec in specs_of(flows) for d in spec.on if isinstance(d, Webhook))
    async with serving(made, host, port, patience) as bound:
        yield Listening(host, bound, paths)
