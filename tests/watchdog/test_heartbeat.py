"""The calls themselves, to a receiver on loopback: the operator's file may name any network."""

import pytest
import trio

from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.dialler import system_dialler
from appliance.delivery.outgoing.urls import parse
from appliance.watchdog.heartbeat import Heartbeat, failing
from tests.support.http_sink import Behaviour, HttpSink, answers, hang_up, http_sink, silence

SECRET = "Zx81-marked-heartbeat"
DEADLINES = Deadlines(name=1, connect=1, tls=1, write=1, read=1, total=1)


def heartbeat(sink: HttpSink, target: str = f"/{SECRET}") -> Heartbeat:
    return Heartbeat(system_dialler((), (), None, DEADLINES).anywhere(), parse(sink.url(target), "url"))


async def test_ok_is_the_url_and_not_ok_has_fail_at_the_end() -> None:
    async with http_sink(answers(200)) as sink:
        assert await heartbeat(sink).call("Proven.", ok=True, seconds=5) is None
        assert await heartbeat(sink).call("Missing: broker.", ok=False, seconds=5) is None
    assert [(one.method, one.target, one.body) for one in sink.requests] == [
        ("POST", f"/{SECRET}", b"Proven."),
        ("POST", f"/{SECRET}/fail", b"Missing: broker."),
    ]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/a/", "/a/fail"), ("", "/fail"), ("/push?token=x&y=1", "/push/fail?token=x&y=1")],
)
def test_fail_stands_in_the_path(target: str, expected: str) -> None:
    assert failing(parse(f"https://watcher.example{target}", "url")).target == expected


@pytest.mark.parametrize(
    "behaviour", [answers(500), answers(302, f"Location: https://elsewhere.example/{SECRET}"), hang_up, silence]
)
async def test_what_is_no_answer_of_2xx_is_a_trouble_that_tells_no_secret(behaviour: Behaviour) -> None:
    async with http_sink(behaviour) as sink:
        trouble = await heartbeat(sink).call("Proven.", ok=True, seconds=0.2)
    assert trouble
    assert SECRET not in trouble


async def test_nobody_there_is_a_trouble() -> None:
    async with http_sink(answers(200)) as sink:
        gone = heartbeat(sink)
    await trio.lowlevel.checkpoint()
    assert "Connection refused" in str(await gone.call("Proven.", ok=True, seconds=5))
    assert SECRET not in repr(gone)
