"""The entrance to an external broker: shut until the question who else is there was asked."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import pytest
import trio
from trio.testing import MockClock

from appliance.broker.entrance import WAIT_SECONDS, Entrance
from appliance.mqtt.client import Client
from tests.support.mqtt.opening import open_and_close
from tests.support.mqtt.scripted_broker import ScriptedBroker


class Question:
    """A question that a test answers."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.waits_for = "Connection refused"


async def test_nothing_connects_before_the_question_was_asked_and_the_reason_is_told(autojump_clock: MockClock) -> None:
    broker, question = ScriptedBroker(), Question()
    entrance = Entrance(broker, question)
    client = Client(transport=entrance, identifier="c", keep_trying=True)
    assert entrance.name == broker.name
    async with client:
        await trio.sleep(60)
        assert (client.link.detail, broker.attempts) == ("Connection refused", [])
        question.waits_for = "asks"
        await trio.sleep(60)
        assert (client.link.detail, broker.attempts) == ("asks", [])
        await trio.sleep(WAIT_SECONDS / 2)
        question.asked.set()
        with trio.fail_after(60):
            await client.ready()
    assert len(broker.attempts) == 1


async def test_who_waits_at_the_entrance_connects_as_soon_as_it_opens(autojump_clock: MockClock) -> None:
    broker, question = ScriptedBroker(), Question()
    entrance = Entrance(broker, question)
    with pytest.raises(OSError, match="Connection refused"):
        await open_and_close(entrance)
    assert trio.current_time() == 0, "what it waits for is told at once"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_and_close, entrance)
        await trio.sleep(WAIT_SECONDS / 2)
        question.asked.set()
    assert trio.current_time() == WAIT_SECONDS / 2


async def test_a_broker_that_is_away_later_is_told_as_ever(autojump_clock: MockClock) -> None:
    broker, question = ScriptedBroker(), Question()
    question.asked.set()
    broker.unreachable = lambda _attempt: True
    with pytest.raises(ConnectionRefusedError):
        await open_and_close(Entrance(broker, question))
