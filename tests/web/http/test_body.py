"""Request bodies over slow lines: a rate is asked for, not a time for the whole."""

from collections.abc import AsyncIterator, Sequence

import pytest
import trio
from quart import request

from appliance.ingest.batch import Accepted, Verdict
from appliance.web.access.auth import OPEN, allow
from appliance.web.http.hardening import RequestLimits
from appliance.web.ingest import api
from tests.support.web.parts import parts
from tests.support.web.serving import Served, read_all, serving, without_database
from tests.support.web.stand_ins import NoDevices
from tests.web.http.test_hardening import status

SIZE = 100_000
"""Bytes: a tenth of the largest body, at 64 kB/s."""
PIECE, PAUSE = 6_400, 0.1
BRIEF = RequestLimits(body_grace=0.3, body_rate=8_000)


class Taking(NoDevices):
    """Ingest without tokens that stores every message."""

    token_demanded = False

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        del topic, hop_count
        return [Accepted.STORED for _ in payloads]


class Stuck(Taking):
    """Ingest whose database does not answer."""

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        await trio.Event().wait()
        return await super().take(topic, payloads, hop_count)


async def sent_slowly(
    served: Served, path: str, *, piece: int, pause: float, size: int = SIZE, kind: str = "application/json"
) -> bytes:
    """Send a body of ``size`` bytes, ``piece`` by ``piece``, until the server has answered; the answer."""
    body = b'{"a": 1' + b" " * (size - 8) + b"}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    async with await served.connect() as stream, trio.open_nursery() as nursery:
        answers: list[bytes] = []

        async def hear() -> None:
            answers.append(await read_all(stream, 30))
            nursery.cancel_scope.cancel()

        await stream.send_all(f"{head}Content-Length: {size}\r\n\r\n".encode())
        nursery.start_soon(hear)
        for start in range(0, size, piece):
            await stream.send_all(body[start : start + piece])
            await trio.sleep(pause)
        await trio.Event().wait()
    return answers[0]


INGEST = "/ingest/tenant/acme/device/d1/telemetry"


@pytest.fixture
async def served_taking() -> AsyncIterator[Served]:
    async with (
        without_database() as nowhere,
        serving(parts(nowhere.platform.pool).having(source=Taking()), BRIEF) as one,
    ):
        yield one


async def test_a_large_body_over_a_slow_line_is_stored(monkeypatch: pytest.MonkeyPatch, served_taking: Served) -> None:
    """However long it takes: what waits for the commit waits for nothing else."""
    monkeypatch.setattr(api, "COMMIT_DEADLINE", 0.5)
    answer = await sent_slowly(served_taking, INGEST, piece=PIECE, pause=PAUSE)
    assert status(answer) == 202, answer


async def test_a_body_that_trickles_is_answered_408_and_not_by_the_database(served_taking: Served) -> None:
    answer = await sent_slowly(served_taking, INGEST, piece=10, pause=0.05)
    assert status(answer) == 408
    assert b"REQUEST_TIMEOUT" in answer
    assert b"database" not in answer


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
async def test_a_form_that_trickles_is_answered_408(kind: str) -> None:
    async with without_database(limits=BRIEF) as served:

        @served.app.post("/form")
        @allow(OPEN)
        async def form() -> str:
            return str(len(await request.form))

        assert status(await sent_slowly(served, "/form", piece=10, pause=0.05, kind=kind)) == 408
        assert status(await sent_slowly(served, "/form", piece=3_000, pause=0.05, size=6_000, kind=kind)) in {200, 400}


async def test_time_spent_before_the_body_is_read_is_not_the_peers() -> None:
    limits, reads = RequestLimits(body_grace=1.0, body_rate=8_000), trio.Event()
    async with without_database(limits=limits) as served, await served.connect() as stream:

        @served.app.post("/late")
        @allow(OPEN)
        async def late() -> str:
            await trio.sleep(1.1 * limits.body_grace)
            reads.set()
            return str(len(await request.get_data(True, False, False)))

        await stream.send_all(
            b"POST /late HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n"
        )
        await reads.wait()
        await stream.send_all(bytes(10))
        answer = await read_all(stream)
    assert (status(answer), answer.endswith(b"10")) == (200, True)


async def test_the_database_that_does_not_answer_is_named_and_the_body_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "COMMIT_DEADLINE", 0.1)
    async with without_database() as nowhere:
        given = parts(nowhere.platform.pool).having(source=Stuck())
        async with serving(given) as served:
            answer = await sent_slowly(served, INGEST, piece=1_000, pause=0, size=1_000)
    assert status(answer) == 503
    assert b"database" in answer


def test_the_largest_body_is_taken_at_64_kb_a_second() -> None:
    limits = RequestLimits()
    assert limits.body_rate <= 8 * 1024
    assert limits.body_grace >= 5, "a phone that changes cells is silent for seconds"
