"""The load publishes exactly its stream, and the stream is what the appliance takes."""

import json
from collections import Counter

import pytest
import trio
from mqtt5 import PublishPacket, QoS

from appliance.devices.topics import DeviceTopic, parse
from appliance.ingest.envelope import Decoder, Envelope
from appliance.ingest.telemetry.copy_row import HEADER, TRAILER
from appliance.mqtt.client import Client
from appliance.reading import Kind
from benchmarks.copying import batches
from benchmarks.load import Plan, Report
from benchmarks.messages import Stream, messages, payload, publish_packet, topic, topic_head
from benchmarks.worker import Worker
from tests.support.mosquitto_server import MosquittoServer

START = 1_790_000_000_000


def stream(tenant: str, count: int = 600) -> Stream:
    return Stream(tenant, devices=50, count=count, start=START)


def test_the_stream_is_made_of_messages_with_three_metrics_that_are_taken() -> None:
    decoder = Decoder()
    seen = set()
    for number, body in messages(stream("bench")):
        assert isinstance(parse(topic("bench", number)), DeviceTopic)
        envelope = decoder.decode(body, Kind.TELEMETRY)
        assert isinstance(envelope, Envelope)
        assert set(envelope.metrics) == {"temperature", "humidity", "battery"}
        assert envelope.ts is not None
        seen.add((number, envelope.ts, envelope.seq))
    assert len(seen) == 600


@pytest.mark.parametrize("size", [40, 200, 3000])
def test_a_packet_is_what_the_codec_would_write(size: int) -> None:
    name, body = topic("bench", 7), payload(7, 1, START).ljust(size)
    written = PublishPacket(name, body, qos=QoS.AT_LEAST_ONCE, packet_id=513).write()
    # MQTT 5 has one byte more: the length of its properties, 0
    ours = publish_packet(topic_head(name), 513, body)
    assert ours.endswith(body)
    assert ours[ours.index(name.encode()) :] == written[written.index(name.encode()) :].replace(b"\2\1\0", b"\2\1", 1)


def test_copy_gets_every_row_in_batches_of_the_size_asked_for() -> None:
    data = batches(stream("bench", 250), 100)
    assert len(data) == 3
    for part, rows in zip(data, (100, 100, 50), strict=True):
        assert part.startswith(HEADER)
        assert part.endswith(TRAILER)
        assert part.count(b"bench-") == rows


@pytest.mark.real
@pytest.mark.parametrize("rate", [0.0, 3000.0])
async def test_all_of_the_stream_arrives_in_each_devices_order(mosquitto: MosquittoServer, rate: float) -> None:
    tenant = f"load{rate:.0f}"
    plan = Plan(mosquitto.host, mosquitto.port, stream(tenant), connections=3, window=20, rate=rate)
    heard: dict[str, list[int]] = {}
    async with Client(mosquitto.host, mosquitto.port) as client:
        await client.subscribe(f"tenant/{tenant}/#")
        with Worker("benchmarks.load", plan, Report) as load:
            load.go()
            with trio.fail_after(20):
                async for message in client.messages():
                    heard.setdefault(message.topic, []).append(json.loads(message.payload)["seq"])
                    await client.puback(message)
                    if sum(map(len, heard.values())) == 600:
                        break
            report = load.report()
    assert Counter(map(len, heard.values())) == {12: 50}
    assert all(numbers == list(range(12)) for numbers in heard.values())
    assert report.started < report.acknowledged
    assert len(report.published) == (600 if rate else 0)
    assert report.published == sorted(report.published)
