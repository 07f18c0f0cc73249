"""A signed request starts one run, and what cannot be taken is kept with its reason."""

import asyncio
import base64
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from segue import DeclarationError, UsageError, flow
from segue.runtime.engine import Engine
from segue.stores.base import Query, Reject
from segue.triggers import env, webhook
from segue.triggers.secrets import is_signed, signature
from segue.triggers.webhooks import Listening, app, listening
from tests.triggers.signing import signed

ROOT = Path(__file__).parents[2]
GOOD = b'{"road": "A4", "minutes": 12}'


class Traffic(Struct):
    road: str
    minutes: int


@flow(on=[webhook("/traffic", secret=[env("TRAFFIC_SECRET"), env("TRAFFIC_SECRET_NEW")], limit="1KiB")])
async def reroute(event: Traffic) -> str:
    return event.road


@flow(on=[webhook("/anything", unsigned=True, limit="1MiB")])
async def anything(event: Any) -> None: ...


@flow(max_queued=1, on=[webhook("/busy", unsigned=True)])
async def busy(event: int) -> None: ...


@flow(dedupe="event.road", on=[webhook("/once", unsigned=True)])
async def once(event: Traffic) -> None: ...


@flow(key="events.0.road", coalesce="all", on=[webhook("/together", secret=env("TRAFFIC_SECRET"))])
async def together(events: list[Traffic]) -> int:
    return len(events)


FLOWS = [reroute, anything, busy, once, together]


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAFFIC_SECRET", "secret-1")
    monkeypatch.setenv("TRAFFIC_SECRET_NEW", "whsec_c2VjcmV0LTI=")  # of b"secret-2"


class Served:
    """A server, and its store."""

    def __init__(self, engine: Engine, server: Listening, client: httpx.AsyncClient) -> None:
        self.engine, self.server, self.client = engine, server, client

    async def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(path, content=body, headers=headers)

    async def runs(self) -> int:
        return len(await self.engine.store.find(Query(limit=1000)))

    async def rejects(self) -> list[Reject]:
        return await self.engine.store.rejects(1000)


def serve(
    scene: Callable[[Served], Awaitable[None]], store: str = "memory:", *, execute: bool = False, patience: float = 30.0
) -> None:
    """Play a scene with a real server on a free port."""

    async def whole() -> None:
        async with (
            Engine(store, execute=execute) as engine,
            listening(engine, FLOWS, patience=patience) as server,
            httpx.AsyncClient(base_url=f"http://{server.host}:{server.port}", trust_env=False) as client,
        ):
            await scene(Served(engine, server, client))

    asyncio.run(whole())


def test_a_signed_request_starts_a_run_and_the_same_one_again_does_not() -> None:
    async def scene(served: Served) -> None:
        first = await served.post("/traffic", GOOD, signed(GOOD))
        assert first.status_code == 202
        assert (await served.engine.row(first.json()["run"])).flow == reroute.name
        again = await served.post("/traffic", GOOD, signed(GOOD))
        assert (again.status_code, again.json()) == (200, first.json())
        other = b'{"road": "A5", "minutes": 12}'
        conflict = await served.post("/traffic", other, signed(other))
        assert conflict.status_code == 409
        assert await served.runs() == 1
        [reject] = await served.rejects()
        assert (reject.number, reject.body) == (conflict.json()["reject"], other)
        assert (await served.post("/traffic", other, signed(other, id="msg_2"))).status_code == 202
        assert await served.runs() == 2

    serve(scene)


def test_deliveries_at_the_same_moment_start_one_run() -> None:
    async def scene(served: Served) -> None:
        answers = await asyncio.gather(*(served.post("/traffic", GOOD, signed(GOOD)) for _ in range(20)))
        assert sorted(one.status_code for one in answers) == [200] * 19 + [202]
        assert len({one.json()["run"] for one in answers}) == 1

    serve(scene)


HOSTILE: dict[str, tuple[dict[str, str], str]] = {
    "no-headers": ({}, "webhook-id"),
    "no-signature": ({"webhook-id": "a", "webhook-timestamp": "1"}, "webhook-signature"),
    "another-secret": (signed(GOOD, secret=b"secret-3"), "no secret"),
    "another-body": (signed(GOOD, over=GOOD + b" "), "no secret"),
    "another-id": ({**signed(GOOD), "webhook-id": "msg_2"}, "no secret"),
    "no-version": ({**signed(GOOD), "webhook-signature": signed(GOOD)["webhook-signature"][3:]}, "no secret"),
    "too-old": (signed(GOOD, at=time.time() - 3600), "from now"),
    "of-the-future": (signed(GOOD, at=time.time() + 3600), "from now"),
    "no-time": ({**signed(GOOD), "webhook-timestamp": "yesterday"}, "none"),
    "a-huge-time": ({**signed(GOOD), "webhook-timestamp": "9" * 5000}, "none"),
    "an-id-with-a-space": (signed(GOOD, id="a b"), "none"),
    "a-long-id": (signed(GOOD, id="a" * 257), "none"),
    "many-signatures": ({**signed(GOOD), "webhook-signature": "v1,AAAA " * 500 + "v1,AAAA"}, "no secret"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_who_is_not_the_sender_gets_401_and_leaves_nothing_behind(case: str) -> None:
    headers, reason = HOSTILE[case]

    async def scene(served: Served) -> None:
        answer = await served.post("/traffic", GOOD, headers)
        assert answer.status_code == 401
        assert reason in answer.json()["error"]
        assert await served.runs() == 0
        assert await served.rejects() == []

    serve(scene)


def test_while_a_secret_is_replaced_both_count_and_one_good_signature_is_enough() -> None:
    async def scene(served: Served) -> None:
        new = signed(GOOD, id="new", secret=b"secret-2")
        assert (await served.post("/traffic", GOOD, new)).status_code == 202
        both = signed(GOOD, id="both")
        both["webhook-signature"] = f"v1a,xyz v1,AAAA {both['webhook-signature']}"
        assert (await served.post("/traffic", GOOD, both)).status_code == 202

    serve(scene)


def test_signatures_are_those_of_the_specification() -> None:
    # The example of the reference libraries: github.com/standard-webhooks/standard-webhooks
    id, stamp = b"msg_p5jXN8AQM9LWM0D4loKWxJek", b"1614265330"
    body = b'{"test": 2432232314}'
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(secret, id, stamp, body) == given
    assert is_signed([secret], b"v1,AAAA " + given, id, stamp, body)
    assert not is_signed([secret], given, id, stamp, body + b" ")
    assert not is_signed([], given, id, stamp, body)


BAD = {
    "no-json": (b"road=A4", "not JSON"),
    "empty": (b"", "not JSON"),
    "another-type": (b'{"road": "A4", "minutes": "many"}', "minutes"),
    "a-field-is-missing": (b'{"road": "A4"}', "minutes"),
    "nan": (b'{"road": "A4", "minutes": NaN}', "not JSON"),
    "not-utf-8": (b'{"road": "\xff\xfe", "minutes": 1}', "not JSON"),
    "a-lone-surrogate": (b'{"road": "\\ud800", "minutes": 1}', "not JSON"),
    "two-values": (GOOD + GOOD, "not JSON"),
    "a-huge-number": (b'{"road": "A4", "minutes": ' + b"9" * 400 + b"}", ""),
    "nested-deeply": (b"[" * 1000, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_parsed_is_kept_once_with_its_reason(case: str) -> None:
    body, reason = BAD[case]

    async def scene(served: Served) -> None:
        answer = await served.post("/traffic", body, signed(body))
        assert answer.status_code == 400
        assert reason in answer.json()["error"]
        [reject] = await served.rejects()
        assert (reject.number, reject.source, reject.flow) == (
            answer.json()["reject"],
            "webhook /traffic",
            reroute.name,
        )
        assert (reject.body, reject.size, reject.reason) == (body, len(body), answer.json()["error"])
        again = await served.post("/traffic", body, signed(body))
        assert (again.status_code, again.json()) == (400, answer.json())
        assert len(await served.rejects()) == 1
        assert await served.runs() == 0

    serve(scene)


DEEP = 100_000
BOMBS = [
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b"1e999999999",
    b"9" * 5000,
    b'"' + b"\\" * 99,
]


@pytest.mark.parametrize("body", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_a_bad_request(body: bytes) -> None:
    async def scene(served: Served) -> None:
        assert (await served.post("/anything", body)).status_code == 400
        assert len(await served.rejects()) == 1
        assert (await served.post("/anything", b"1")).status_code == 202

    serve(scene)


def test_unsigned_requests_are_runs_each_unless_they_are_named() -> None:
    async def scene(served: Served) -> None:
        for _ in range(2):
            assert (await served.post("/anything", b"1")).status_code == 202
        named = [await served.post("/anything", b"1", {"idempotency-key": "a"}) for _ in range(2)]
        assert [one.status_code for one in named] == [202, 200]
        assert (await served.post("/anything", b"2", {"idempotency-key": "a"})).status_code == 409
        assert (await served.post("/anything", b"2", {"idempotency-key": "a b"})).status_code == 400
        assert await served.runs() == 3

    serve(scene)


def test_a_flow_that_looks_for_duplicates_itself_is_answered_with_the_first_run() -> None:
    async def scene(served: Served) -> None:
        first, second = [await served.post("/once", GOOD, {"idempotency-key": id}) for id in "ab"]
        assert (first.status_code, second.status_code) == (202, 200)
        assert first.json() == second.json()
        third = await served.post("/once", GOOD)
        assert (third.status_code, third.json()) == (200, first.json())
        assert (await served.post("/once", b'{"road": "A4", "minutes": 1}')).status_code == 409

    serve(scene)


def test_events_that_were_taken_together_are_still_known_each_by_its_id() -> None:
    async def scene(served: Served) -> None:
        bodies = [b'{"road": "A4", "minutes": %d}' % n for n in range(3)]
        first = [(await served.post("/together", b, signed(b, id=f"m{n}"))).json()["run"] for n, b in enumerate(bodies)]
        [claimed] = await served.engine.store.claim(served.engine.worker, None, 10, None, False)
        assert claimed.row.id == first[0]
        for n, body in enumerate(bodies):
            again = await served.post("/together", body, signed(body, id=f"m{n}"))
            assert (again.status_code, again.json()["run"]) == (200, first[n])

    serve(scene)


def test_a_full_queue_and_a_closed_engine_ask_to_come_again() -> None:
    async def scene(served: Served) -> None:
        assert (await served.post("/busy", b"1")).status_code == 202
        full = await served.post("/busy", b"2")
        assert (full.status_code, full.headers["retry-after"]) == (503, "5")
        assert await served.rejects() == []
        await served.engine.close()
        closed = await served.post("/traffic", GOOD, signed(GOOD))
        assert (closed.status_code, closed.headers["retry-after"]) == (503, "5")
        assert (await served.client.get("/healthz")).status_code == 503

    serve(scene)


def test_other_paths_and_methods() -> None:
    async def scene(served: Served) -> None:
        assert (await served.client.get("/healthz")).json() == {"ok": True}
        for path in ("/", "/nowhere", "/traffic/", "/traffic/x", "/TRAFFIC"):
            assert (await served.post(path, GOOD)).status_code == 404
        for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
            answer = await served.client.request(method, "/traffic")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    serve(scene)


# What a program that is no client sends


async def raw(served: Served, *parts: bytes, end: bool = False) -> bytes:
    """All that is answered to these bytes."""
    reader, writer = await asyncio.open_connection(served.server.host, served.server.port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end:
            writer.write_eof()
        while data := await reader.read(65536):
            answer += data
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


HEAD = b"POST /traffic HTTP/1.1\r\nhost: here\r\n"


def test_a_body_that_is_too_long_is_not_read_on() -> None:
    async def scene(served: Served) -> None:
        told = await raw(served, HEAD + b"content-length: 1025\r\n\r\n")  # and nothing comes
        assert told.startswith(b"HTTP/1.1 413")
        huge = await raw(served, HEAD + b"content-length: " + b"9" * 17 + b"\r\n\r\n")
        assert huge.startswith(b"HTTP/1.1 413")
        chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
        chunked = await raw(served, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk * 3)  # it never ends
        assert chunked.startswith(b"HTTP/1.1 413")
        fits = await served.post("/traffic", b" " * (1024 - len(GOOD)) + GOOD)
        assert fits.status_code == 401
        assert await served.rejects() == []

    serve(scene)


def test_a_flood_of_headers_is_refused() -> None:
    async def scene(served: Served) -> None:
        answer = await raw(served, HEAD, b"x: " + b"y" * 200_000)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        many = await raw(served, HEAD, b"".join(b"x-%d: y\r\n" % n for n in range(20_000)))
        assert many == b"" or many.startswith(b"HTTP/1.1 400")
        assert (await served.client.get("/healthz")).status_code == 200

    serve(scene)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", HEAD + b"content-length: -1\r\n\r\n"])
def test_what_is_no_http_is_refused(garbage: bytes) -> None:
    async def scene(served: Served) -> None:
        answer = await raw(served, garbage, b"\r\n\r\n")
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        assert (await served.client.get("/healthz")).status_code == 200

    serve(scene)


@pytest.mark.parametrize("begin", [b"", b"POST /traf", HEAD], ids=["nothing", "a-word", "some-headers"])
def test_who_does_not_end_the_headers_is_let_go(begin: bytes) -> None:
    async def scene(served: Served) -> None:
        async with asyncio.timeout(30):
            assert await raw(served, begin) == b""

    serve(scene, patience=0.2)


def test_who_does_not_end_a_second_request_is_let_go_too() -> None:
    async def scene(served: Served) -> None:
        async with asyncio.timeout(30):
            answer = await raw(served, b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n", b"GET /heal")
        assert answer.startswith(b"HTTP/1.1 200")

    serve(scene, patience=0.2)


def test_who_does_not_end_the_body_gets_408() -> None:
    async def scene(served: Served) -> None:
        async with asyncio.timeout(30):
            answer = await raw(served, HEAD + b"content-length: 100\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408")
        assert await raw(served, HEAD + b"content-length: 100\r\n\r\n{", end=True) in (b"", answer)
        assert await served.runs() == 0

    serve(scene, patience=0.2)


# Crashes


class Server:
    """The server of ``server.py`` as a process."""

    def __init__(self, store: str, root: Path, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.triggers.server", store, str(root)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "TRAFFIC_SECRET": "secret-1", **env},
        )
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 60)[0]
        return self.process.stdout.readline().decode().strip()

    def until(self, word: str) -> None:
        """Wait for a line."""
        while (line := self.line()) != word:
            assert line, "it has ended"

    def post(self, body: bytes, id: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}/traffic"
        return httpx.post(url, content=body, headers=signed(body, id=id), timeout=60, trust_env=False)

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.mark.parametrize("point", ["before-create", "after-create"])
def test_a_crash_before_the_answer_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    store, place = f"sqlite:{tmp_path / 'runs.db'}?durability=process", tmp_path / "ran"
    body = b'{"place": "%s"}' % str(place).encode()
    server = Server(store, tmp_path, SEGUE_CRASH_AT=point)
    with pytest.raises(httpx.TransportError):
        server.post(body, "m1")
    assert server.end() == 137
    server = Server(store, tmp_path)
    try:
        first = server.post(body, "m1")
        assert first.status_code == (202 if point == "before-create" else 200)
        assert server.post(body, "m1").json() == first.json()
    finally:
        server.end()

    assert asyncio.run(runs_in(store)) == 1


async def runs_in(store: str) -> int:
    async with Engine(store, execute=False) as engine:
        return len(await engine.store.find(Query()))


@pytest.mark.parametrize("point", ["before-artifact", "after-artifact", "before-create", "after-create"])
def test_a_crash_while_a_file_is_taken_loses_and_doubles_nothing(tmp_path: Path, point: str) -> None:
    store, place = f"sqlite:{tmp_path / 'runs.db'}?durability=process", tmp_path / "ran"
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.txt").write_text(str(place))
    crashing = Server(store, tmp_path, SEGUE_CRASH_AT=point)
    assert crashing.process.wait(60) == 137
    crashing.end()
    server = Server(store, tmp_path)
    try:
        server.until("end")
    finally:
        server.end()
    assert asyncio.run(runs_in(store)) == 1
    assert place.read_text() == "x"


# Where it is declared, and begun


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"path": "traffic", "unsigned": True}, "a path is"),
        ({"path": "/a b", "unsigned": True}, "a path is"),
        ({"path": "/{x}", "unsigned": True}, "a path is"),
        ({"path": "/healthz", "unsigned": True}, "a path is"),
        ({"path": "/a", "secret": "hunter2"}, r'env\("NAME"\)'),
        ({"path": "/a", "secret": ["hunter2"]}, r'env\("NAME"\)'),
        ({"path": "/a"}, "unsigned=True"),
        ({"path": "/a", "secret": env("A"), "unsigned": True}, "signed or not"),
        ({"path": "/a", "unsigned": True, "limit": "much"}, "limit"),
        ({"path": "/a", "unsigned": True, "limit": 0}, "limit"),
        ({"path": "/a", "unsigned": True, "tolerance": "long"}, "duration"),
    ],
)
def test_mistakes_are_told_where_they_are_made(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said) as told:
        webhook(**given)
    assert "hunter2" not in str(told.value)


def test_a_flow_that_one_argument_is_not_enough_for_has_no_webhook() -> None:
    async def two(a: int, b: int) -> None: ...

    with pytest.raises(DeclarationError, match="one argument is enough"):
        flow(on=[webhook("/a", unsigned=True)])(two)


def test_a_secret_that_is_not_set_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAFFIC_SECRET")
    with pytest.raises(UsageError, match="TRAFFIC_SECRET is not set"):
        app(Engine("memory:"), FLOWS)
    monkeypatch.setenv("TRAFFIC_SECRET", "whsec_*hunter2*")
    with pytest.raises(UsageError, match="no base64") as told:
        app(Engine("memory:"), FLOWS)
    assert "hunter2" not in str(told.value)


def test_two_flows_cannot_have_one_path() -> None:
    @flow(on=[webhook("/anything", unsigned=True)])
    async def other(event: int) -> None: ...

    with pytest.raises(DeclarationError, match="/anything"):
        app(Engine("memory:"), [anything, other])


def test_a_port_that_is_taken_is_told() -> None:
    async def scene(served: Served) -> None:
        with pytest.raises(UsageError, match="nothing can listen"):
            async with listening(served.engine, FLOWS, port=served.server.port):
                pass

    serve(scene)


def test_it_can_be_mounted_into_another_application(tmp_path: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    async def whole() -> None:
        async with Engine("memory:", execute=False) as engine:
            outer = Starlette(routes=[Mount("/hooks", app(engine, [reroute]))])
            transport = httpx.ASGITransport(app=outer)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                answer = await client.post("/hooks/traffic", content=GOOD, headers=signed(GOOD))
            assert answer.status_code == 202

    asyncio.run(whole())


def test_the_port_is_free_again_afterwards() -> None:
    ports: list[int] = []

    async def scene(served: Served) -> None:
        ports.append(served.server.port)

    serve(scene)
    socket.create_server(("127.0.0.1", ports[0])).close()


def test_who_declares_a_webhook_does_not_wait_for_a_server_to_load() -> None:
    code = "import sys, segue.triggers; assert not {'starlette', 'uvicorn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
