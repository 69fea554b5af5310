"""Two appliances on one broker: the second gives way and names the first; of two at once the later one does."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs

from appliance.broker.neighbours import TOPIC, Identity, Neighbours
from appliance.errors import ApplianceError
from appliance.mqtt.client import Client
from tests.support.busy import within
from tests.support.mosquitto_server import MosquittoServer

HALL, YARD = Identity("aaaaaaaaaaaa", "hall", 1000.0), Identity("bbbbbbbbbbbb", "yard", 2000.0)
LONG, SHORT = 60.0, 0.3
"""Seconds to wait for answers: where one comes, and where none will."""


@pytest.fixture
def broker() -> Iterator[MosquittoServer]:
    with MosquittoServer() as server:
        yield server


def neighbours(broker: MosquittoServer, identity: Identity, seconds: float = SHORT) -> Neighbours:
    client = Client(broker.host, broker.port, clean_start=True, keep_trying=True)
    return Neighbours(client, identity, "broker.example:1883", seconds)


@asynccontextmanager
async def running(one: Neighbours) -> AsyncIterator[None]:
    """Let one run for the block, in which it answers."""
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await one.asked.wait()
        yield
        nursery.cancel_scope.cancel()


async def gives_way(one: Neighbours) -> str:
    """Return why it does not start."""
    with trio.fail_after(within(30)), pytest.raises(ApplianceError) as refused:
        await one.run()
    return str(refused.value)


async def test_one_that_starts_gives_way_to_one_that_runs_and_names_it(broker: MosquittoServer) -> None:
    async with running(neighbours(broker, YARD)):
        refusal = await gives_way(neighbours(broker, HALL, LONG))  # though it says that it started earlier
    for text in ("the appliance yard (instance bbbbbbbbbbbb)", "broker.example:1883", "twice", "broker.url"):
        assert text in refusal
    assert "\n" not in refusal


async def test_after_the_first_is_gone_the_second_starts(broker: MosquittoServer) -> None:
    async with running(neighbours(broker, YARD)):
        await gives_way(neighbours(broker, HALL, LONG))
    async with running(neighbours(broker, HALL)):
        pass


async def test_an_instance_is_no_neighbour_of_what_it_left_behind(broker: MosquittoServer) -> None:
    async with (
        running(neighbours(broker, HALL)),
        running(neighbours(broker, Identity(HALL.instance, HALL.name, HALL.started + 5))),
    ):
        pass


@pytest.mark.parametrize("later", [YARD, Identity("cccccccccccc", "shed", HALL.started)])
async def test_of_two_that_start_at_once_the_later_one_gives_way(broker: MosquittoServer, later: Identity) -> None:
    started: list[str] = []
    refusals: list[str] = []

    async def start(identity: Identity) -> None:
        try:
            async with running(neighbours(broker, identity, 3.0)):
                started.append(identity.name)
                await trio.sleep(1)
        except* ApplianceError as group:
            refusals.append(str(group.exceptions[0]))

    async with trio.open_nursery() as nursery:
        for identity in (later, HALL):
            nursery.start_soon(start, identity)
    assert started == ["hall"]
    assert [f"appliance {HALL.name}" in refusal for refusal in refusals] == [True]


@pytest.mark.parametrize("rights", [(), ("topic write #",), ("topic read #",)])
async def test_a_broker_that_refuses_the_topic_gets_a_warning_and_the_appliance_starts(rights: tuple[str, ...]) -> None:
    server = MosquittoServer()
    acl = server.directory / "acl"
    acl.write_text("\n".join(["topic read $SYS/#", *rights]) + "\n")
    acl.chmod(0o644)
    server._config = (f"acl_file {acl}",)
    with server, capture_logs() as logs:
        async with running(neighbours(server, HALL)):
            pass
    assert [one["topic"] for one in logs if "cannot tell" in one["event"]] == [TOPIC]


@pytest.mark.parametrize("said", [b"", b"\xff", b"[" * 5000, b"1", b'{"instance": 5}', b'{"instance": "x"}'])
async def test_what_others_say_on_the_topic_is_no_appliance(broker: MosquittoServer, said: bytes) -> None:
    async with (
        running(neighbours(broker, HALL)),
        Client(broker.host, broker.port, clean_start=True) as somebody,
    ):
        await somebody.publish(TOPIC, said)
        refusal = await gives_way(neighbours(broker, YARD, LONG))  # and it still answers
    assert "hall" in refusal


async def test_one_that_runs_never_ends_by_what_is_said_and_shows_the_other_one(broker: MosquittoServer) -> None:
    one = neighbours(broker, HALL)
    forged = {"instance": "x\n", "name": "a\x1b[1m", "started": 1, "phase": "runs", "asks": True}
    async with running(one), Client(broker.host, broker.port, clean_start=True) as somebody:
        with capture_logs() as logs, trio.fail_after(within(10)):
            for _ in range(3):
                await somebody.publish(TOPIC, json.dumps(forged).encode())
            while one.trouble is None:
                await trio.sleep(0.01)
        assert one.trouble == (
            "the appliance a?[1m (instance x?) is on the same broker: readings without ts are stored twice"
        )
        assert [entry["event"] for entry in logs] == ["two appliances on one broker"]


async def test_after_a_lost_connection_it_asks_again(broker: MosquittoServer) -> None:
    ours = Client(broker.host, broker.port, clean_start=True, keep_trying=True)
    async with (
        running(Neighbours(ours, HALL, "broker.example:1883", SHORT)),
        Client(broker.host, broker.port, clean_start=True) as somebody,
    ):
        await somebody.subscribe(TOPIC)
        ours.drop_connection()
        with trio.fail_after(within(20)):
            async for message in somebody.messages():
                said = json.loads(message.payload)
                assert (said["instance"], said["phase"], said["asks"]) == (HALL.instance, "runs", True)
                break
