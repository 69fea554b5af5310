"""The claim that no stream of bytes raises anything in a session, or makes it keep memory or packet ids."""

import gc
import os
import random
import secrets
import sys
from pathlib import Path

import pytest
from mqtt5 import (
    AuthPacket,
    AuthReasonCode,
    ConnAckPacket,
    DisconnectPacket,
    PingRespPacket,
    PubAckPacket,
    PubCompPacket,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    QoS,
    SubAckPacket,
    SubAckReasonCode,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
)

from appliance.mqtt.events import Event, Publishes, PubRecs, PubRels
from appliance.mqtt.session import Session
from appliance.mqtt.states import State
from appliance.mqtt.terms import refuses
from tests.support.mqtt.scripted import new_session, qos1, written
from tests.support.soak import times

STREAMS = 10_000
MEMORY_BYTES = 1024 * 1024
"""What the streams may add to the memory of the process."""

HEADERS = (0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xE0, 0xF0)
BODIES = (b"", b"\0", b"\0\1", b"\0\1\0", b"\0\1\x92\0", b"\0\0\x85", b"\xff\xff\x80\x80")
ANSWERS = (PubAckPacket, PubRecPacket, PubRelPacket, PubCompPacket)
PIECES = (
    *(bytes([header, len(body)]) + body for header in HEADERS for body in BODIES),
    b"\xff\xff\xff\x7f",
    b"\x30\x06\0\3a\xff\xff\0",  # not UTF-8
    b"\x80" * 5,
    b"\x30\x06\0\3a/#\0",
    b"\x34\x06\0\1a\0\1\0",
    b"\x3c\x06\0\1a\0\1\0",  # the same again
    b"\x34\x06\0\1a\0\2\0",
    b"\x32\x06\0\1a\0\2\0",
    b"\x30\x07\0\1a\x03\x23\0\1",  # a topic alias
    b"\x34\x08\0\0\0\3\x03\x23\0\1",  # without its topic
    AuthPacket(reason_code=AuthReasonCode.CONTINUE_AUTHENTICATION, authentication_method="m").write(),
    *(
        kind(number).write()
        for kind in (PubAckPacket, PubRecPacket, PubRelPacket, PubCompPacket)
        for number in range(5)
    ),
    PubRecPacket(1, reason_code=PubRecReasonCode.QUOTA_EXCEEDED).write(),
    bytes(40),
    ConnAckPacket(receive_max=1, max_packet_size=20, max_qos=QoS.AT_MOST_ONCE).write(),
    ConnAckPacket(session_present=True).write(),
    PublishPacket("a", b"", topic_alias=3).write(),
    PubRelPacket(7).write(),
    PubAckPacket(1).write(),
    SubAckPacket(2, [SubAckReasonCode.NOT_AUTHORIZED]).write(),
    UnsubAckPacket(3, [UnsubAckReasonCode.SUCCESS]).write(),
    written(qos1(1, b"payload", "tenant/a/device/b/telemetry"), PingRespPacket(), qos1(2)),
    PublishPacket("t", b"x", user_properties=[("name", "value")], content_type="text").write(),
    DisconnectPacket(reason_str="bye").write(),
)


def mutated(chance: random.Random) -> bytes:
    """Packets in any order, with bytes changed, inserted, left out, and repeated."""
    data = bytearray(b"".join(chance.choices(PIECES, k=chance.randint(1, 6))))
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 2:
                del data[at : at + chance.randint(1, 8)]
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 30)]
            case _:
                del data[at:]
    return bytes(data)


def new_victim(chance: random.Random) -> Session:
    """Return a session that waits for CONNACK, or has something under way in each stage and in each direction."""
    manual = chance.random() < 0.3
    session = new_session(
        receive_max=20,
        max_packet_size=100_000,
        keep_alive=10,
        manual=manual,
        topic_alias_max=chance.choice((0, 2)),
        authentication_method=chance.choice((None, "m")),
        authenticate=chance.choice((None, lambda _: b"answer", lambda _: bytes(70_000))),
    )
    session.connect(0.0)
    if chance.random() < 0.2:
        return session
    session.receive_data(ConnAckPacket().write(), 0.0)
    for qos in (QoS.AT_LEAST_ONCE, QoS.EXACTLY_ONCE, QoS.EXACTLY_ONCE, QoS.EXACTLY_ONCE):
        session.publish("t", b"x", qos, retain=False)
    session.subscribe([TopicFilter("a")])
    session.unsubscribe(["b"])
    session.receive_data(written(PubRecPacket(2), PubRecPacket(3)), 0.0)
    if manual:
        session.pubrel(PubRelPacket(3))
    for number in (1, 2, 3):  # held, done behind another, answered
        session.receive_data(PublishPacket("t", b"x", qos=QoS.EXACTLY_ONCE, packet_id=number).write(), 0.0)
        session.acknowledge(1, number - 1, int(number == 3))
    if chance.random() < 0.3:
        session.acknowledge(1, 0, 1)
    if chance.random() < 0.5:
        session.connection_lost()
        session.connect(0.0)
        if chance.random() < 0.5:
            session.receive_data(ConnAckPacket(session_present=True, receive_max=chance.choice((2, 9))).write(), 0.0)
    return session


def react(session: Session, event: Event, chance: random.Random) -> None:
    """Do what a caller does, or does not."""
    if chance.random() < 0.2:
        return
    match event:
        case Publishes():
            if chance.random() < 0.3 and session.state is State.CONNECTED:
                refusal = PubRecPacket(event.packets[0].packet_id or 1, reason_code=PubRecReasonCode.QUOTA_EXCEEDED)
                session.answer(session.generation, event.first, refusal)
            session.acknowledge(session.generation, event.first, event.count)
        case PubRecs() if session.settings.manual and session.state is State.CONNECTED:
            for packet in event.packets:
                if not refuses(packet.reason_code):
                    session.pubrel(PubRelPacket(packet.packet_id))
        case PubRels() if session.state is State.CONNECTED:
            for release in event.packets:
                session.pubcomp(PubCompPacket(release.packet_id))


def torture(chance: random.Random) -> int:
    """Feed one stream to a session that has something under way; return the number of events."""
    session = new_victim(chance)
    data = mutated(chance)
    found = 0
    while data:
        cut = chance.choice((len(data), 1, 3, 50))
        events = session.receive_data(data[:cut], 1.0)
        data = data[cut:]
        found += len(events)
        for event in events:
            react(session, event, chance)
    session.tick(12.0)
    assert len(session.data_to_send(12.0)) < 100_000
    session.connection_lost()
    assert session.packet_ids.in_use == len(session.outgoing), "only messages keep their ids"
    return found


def play(first: int, count: int) -> int:
    """Feed so many streams, each to a session of its own; return the number of events."""
    found = 0
    for seed in range(first, first + count):
        try:
            found += torture(random.Random(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    return found


def test_mutated_streams_raise_nothing_and_leave_no_memory_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # The codec panics on text that is not UTF-8, and leaves the cause with a hook by which pytest would keep it.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    first = secrets.randbits(32)
    count = times(STREAMS)
    found = play(first, count // 2)
    before = _resident()  # by now all is loaded that is loaded once, such as what the codec needs to tell of a panic
    found += play(first + count // 2, count // 2)
    assert found > count // 5, "some of it means something"
    grown = _resident() - before
    assert grown < MEMORY_BYTES, f"{grown} bytes"


def _resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
