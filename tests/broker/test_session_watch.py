"""How an external broker keeps our session: losses are told, also those of the time when we were stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from mqtt5 import ConnAckPacket
from structlog.testing import capture_logs

from appliance.broker.session_watch import LOST, TOLD_SECONDS, SessionWatch
from appliance.mqtt.client import Client
from tests.support.mqtt.answering_broker import AnsweringBroker
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import StandingClock, client_of

DAY = 86_400
URL = "mqtt://broker.example"
PATIENCE = 60.0


class Hand(StandingClock):
    """A clock that a test moves."""

    moment = 0.0

    def monotonic(self) -> float:
        return self.moment


class Broker(ScriptedBroker):
    """An external broker; ``present`` says whether it has our session, ``days`` for how long it keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.present = False
        self.days = 14

    async def open(self, tasks: trio.Nursery) -> trio.abc.Stream:
        self.connack = ConnAckPacket(session_present=self.present, session_expiry_interval=self.days * DAY)
        return await super().open(tasks)


@asynccontextmanager
async def watched(broker: Broker, memory: Path, url: str = URL) -> AsyncIterator[tuple[SessionWatch, Client, Hand]]:
    """Let an appliance run at the broker for the block."""
    clock = Hand()
    async with trio.open_nursery() as nursery, client_of(broker, session_expiry_interval=14 * DAY) as client:
        nursery.start_soon(AnsweringBroker().serve_all, broker)
        watch = SessionWatch(client, memory, url, clock)
        await nursery.start(watch.run)
        with trio.fail_after(PATIENCE):
            while not memory.exists():
                await trio.sleep(0.005)
        yield watch, client, clock
        nursery.cancel_scope.cancel()


async def connect_again(client: Client) -> None:
    generation = client.generation
    client.drop_connection()
    with trio.fail_after(PATIENCE):
        while client.generation == generation:
            await client.ready()
            await trio.sleep(0.005)
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "broker-session"


async def test_a_first_start_has_lost_nothing_and_a_session_that_is_kept_neither(memory: Path) -> None:
    broker = Broker()
    async with watched(broker, memory) as (watch, client, _):
        assert watch.trouble is None
        broker.present = True
        await connect_again(client)
        assert watch.trouble is None


async def test_a_session_that_is_lost_is_told_for_a_while(memory: Path) -> None:
    broker = Broker()
    async with watched(broker, memory) as (watch, client, clock):
        with capture_logs() as logs:
            await connect_again(client)
        assert [one["log_level"] for one in logs if one["event"] == "broker state lost"] == ["error"]
        assert watch.trouble == LOST
        clock.moment = TOLD_SECONDS
        assert watch.trouble is None


@pytest.mark.parametrize(("url", "lost"), [(URL, LOST), ("mqtt://another.example", None)])
async def test_a_session_that_was_lost_while_we_were_stopped_is_told_unless_the_broker_is_another(
    memory: Path, url: str, lost: str | None
) -> None:
    broker = Broker()
    async with watched(broker, memory):
        pass
    async with watched(broker, memory, url) as (watch, _, _):
        await trio.testing.wait_all_tasks_blocked()
        assert watch.trouble == lost


async def test_a_session_that_is_kept_for_too_short_is_told_until_that_is_mended(memory: Path) -> None:
    broker = Broker()
    broker.days, broker.present = 6, True
    with capture_logs() as logs:
        async with watched(broker, memory) as (watch, client, _):
            assert "keeps our session for 6 days" in str(watch.trouble)
            await connect_again(client)
            broker.days = 7
            await connect_again(client)
            assert watch.trouble is None
    assert len([one for one in logs if "less than it should" in one["event"]]) == 1


async def test_the_address_is_not_written_into_the_data_folder(memory: Path) -> None:
    async with watched(Broker(), memory):
        assert b"example" not in memory.read_bytes()
