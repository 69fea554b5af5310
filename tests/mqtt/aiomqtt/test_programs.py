"""Programs that were written for aiomqtt, from its documentation, run on our client against a real Mosquitto.

They are stored as they were written, with broker and topic as arguments; ``CHANGES`` is all that is changed in them.
"""

import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
from mqtt5 import PubAckPacket, PubCompPacket, PublishPacket, PubRecPacket

from appliance.mqtt.client import Client
from tests.mqtt.aiomqtt.program import DEADLINE, Running, running
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.packet_proxy import packet_proxy

PROGRAMS = Path(__file__).parent / "programs"
MANY = 16
"""As many messages as the program with several consumers lets wait."""

IMPORT_AND_RUN = (
    (r"^import aiomqtt$", "from appliance.mqtt import aiomqtt"),
    (r"^import asyncio$", "import trio"),
    (r"asyncio\.run\((\w+)\(\)\)", r"trio.run(\1)"),
)
TASKS_AND_TIME = (
    (r"asyncio\.sleep", "trio.sleep"),
    (r"asyncio\.TaskGroup\(\)", "trio.open_nursery()"),
    (r"\.create_task\((\w+)\((.*)\)\)", r".start_soon(\1, \2)"),
    (r"async with asyncio\.timeout", "with trio.fail_after"),
    (r"asyncio\.TimeoutError", "trio.TooSlowError"),
)
USE_TASKS_OR_TIME = {"concurrent_consumers", "stop_after_timeout"}


def changed(name: str) -> str:
    """Return a program for Trio."""
    text = (PROGRAMS / f"{name}.py").read_text()
    for pattern, replacement in IMPORT_AND_RUN + (TASKS_AND_TIME if name in USE_TASKS_OR_TIME else ()):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    assert "asyncio" not in text
    return text


def started(name: str, port: int, topic: str, folder: Path) -> AbstractAsyncContextManager[Running]:
    """Run a program with this broker and topic."""
    return running(changed(name), folder, "127.0.0.1", str(port), topic)


@asynccontextmanager
async def watching(server: MosquittoServer, topic: str) -> AsyncGenerator[Client, None]:
    """A client that gets whatever is published below the topic."""
    async with Client(server.host, server.port) as client:
        await client.subscribe(f"{topic}/#", max_qos=2)
        yield client


async def seen(client: Client, count: int) -> list[PublishPacket]:
    """The next messages."""
    messages = client.messages()
    packets = []
    with trio.fail_after(DEADLINE):
        for _ in range(count):
            message = await anext(messages)
            await client.puback(message)
            packets.append(message.packet)
    return packets


def test_every_program_is_run_by_a_test_and_changed_in_nothing_else() -> None:
    text = Path(__file__).read_text()
    names = {path.stem for path in PROGRAMS.glob("*.py")}
    assert len(names) >= 10
    assert [name for name in names if f'started("{name}", ' not in text] == []
    for name in names:
        original = (PROGRAMS / f"{name}.py").read_text().splitlines()
        now = changed(name).splitlines()
        lines = sum(before != after for before, after in zip(original, now, strict=True))
        assert lines == 3 or name in USE_TASKS_OR_TIME


async def test_one_publishes(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with watching(mosquitto, topic) as client, started("publish", mosquitto.port, topic, tmp_path) as program:
        assert await program.rest() == []
        [packet] = await seen(client, 1)
        assert (packet.topic, packet.payload, packet.qos.value) == (f"{topic}/louie/status", b"quack", 0)


async def test_one_publishes_with_qos_1_and_again_when_the_answer_is_lost(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path
) -> None:
    async with watching(mosquitto, topic) as client, packet_proxy(mosquitto.host, mosquitto.port) as proxy:
        proxy.losses = [PubAckPacket]
        async with started("publish_qos1", proxy.port, topic, tmp_path) as program:
            assert await program.rest() == [f"Not connected to 127.0.0.1:{proxy.port}", "delivered"]
        assert proxy.connections == 2
        assert {(packet.payload, packet.qos.value) for packet in await seen(client, 2)} == {(b"quack", 1)}


@pytest.mark.parametrize("losses", [(), (PubRecPacket, PubCompPacket)])
async def test_one_publishes_with_qos_2_and_once_although_answers_are_lost(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path, losses: tuple[type[PubRecPacket | PubCompPacket], ...]
) -> None:
    async with watching(mosquitto, topic) as client, packet_proxy(mosquitto.host, mosquitto.port) as proxy:
        proxy.losses = list(losses)
        async with started("publish_qos2", proxy.port, topic, tmp_path) as program:
            lines = await program.rest()
        assert [line for line in lines if not line.startswith("Not connected")] == ["received", "completed"]
        assert len(lines) == 2 + len(losses)
        assert proxy.connections == 1 + len(losses)
        await client.publish(f"{topic}/end", b"end")
        assert [packet.payload for packet in await seen(client, 2)] == [b"quack", b"end"]


async def test_one_publishes_a_retained_message(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with started("publish_retained", mosquitto.port, topic, tmp_path) as program:
        assert await program.rest() == ["b'asleep' True"]
    async with watching(mosquitto, topic) as client:
        await client.publish(f"{topic}/end", b"end")
        assert [packet.payload for packet in await seen(client, 1)] == [b"end"]


async def test_one_subscribes(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with watching(mosquitto, topic) as client, started("subscribe", mosquitto.port, topic, tmp_path) as program:
        assert await program.line() == "subscribed"
        await client.publish(f"{topic}/louie/status", b"quack")
        assert await program.line() == "b'quack'"


async def test_one_receives_with_qos_1_more_than_may_be_unacknowledged(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path
) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as client,
        started("receive_qos1", mosquitto.port, topic, tmp_path) as program,
    ):
        assert await program.line() == "subscribed"
        await client.publish_many((f"{topic}/x", b"%d" % number) for number in range(5))
        assert [await program.line() for _ in range(5)] == [f"b'{number}'" for number in range(5)]


async def test_one_receives_with_every_qos_and_matches_packets(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path
) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as client,
        started("receive_qos2", mosquitto.port, topic, tmp_path) as program,
    ):
        assert await program.line() == "subscribed"
        for qos in (2, 1, 0, 2, 2):
            await client.publish(f"{topic}/x", b"%d" % qos, qos=qos)
        lines = [await program.line() for _ in range(5)]
        assert Counter(lines) == {"2 b'2'": 3, "1 b'1'": 1, "0 b'0'": 1}


async def test_one_has_several_consumers(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as client,
        started("concurrent_consumers", mosquitto.port, topic, tmp_path) as program,
    ):
        assert await program.line() == "subscribed"
        await client.publish_many((f"{topic}/x", b"%d" % number) for number in range(MANY))
        lines = [(await program.line()).split() for _ in range(MANY)]
        assert sorted(payload for _, payload in lines) == sorted(f"b'{number}'" for number in range(MANY))
        assert {number for number, _ in lines} == {"0", "1", "2", "3"}


async def test_one_stops_after_a_timeout(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with watching(mosquitto, topic) as client:
        async with started("stop_after_timeout", mosquitto.port, topic, tmp_path) as program:
            assert await program.rest() == ["b'quack'", "stopped"]
        assert [packet.payload for packet in await seen(client, 2)] == [b"quack", b"still connected"]


async def test_one_shares_its_connection(mosquitto: MosquittoServer, topic: str, tmp_path: Path) -> None:
    async with watching(mosquitto, topic) as client:
        async with started("share_the_connection", mosquitto.port, topic, tmp_path) as program:
            assert await program.rest() == []
        assert [packet.topic for packet in await seen(client, 2)] == [
            f"{topic}/louie/status",
            f"{topic}/louie/location",
        ]


async def test_one_has_a_will_that_is_published_when_it_fails(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path
) -> None:
    async with watching(mosquitto, topic) as client, started("will", mosquitto.port, topic, tmp_path) as program:
        assert await program.line() == "subscribed"
        await client.publish(f"{topic}/x", b"poke")
        assert (await program.failure()).rstrip().endswith("RuntimeError: fell asleep")
        assert [packet.payload for packet in await seen(client, 2)] == [b"poke", b"zzzz"]


async def test_one_comes_back_after_its_connection_was_lost(
    mosquitto: MosquittoServer, topic: str, tmp_path: Path
) -> None:
    async with (
        Client(mosquitto.host, mosquitto.port) as client,
        packet_proxy(mosquitto.host, mosquitto.port) as proxy,
        started("reconnection", proxy.port, topic, tmp_path) as program,
    ):
        proxy.losses = [PublishPacket]
        assert await program.line() == "subscribed"
        await client.publish(f"{topic}/x", b"quack")
        assert [await program.line() for _ in range(3)] == ["lost", "again True", "b'quack'"]
