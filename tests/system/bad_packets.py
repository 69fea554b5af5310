"""MQTT in plain bytes: packets that a real client would not send, and what a broker may do about each of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

CLEAN = 0x02
WILL = 0x04
NAMED = 0xC0
"""CONNECT flags: user name and password follow."""


class Fate(Enum):
    """What becomes of the connection."""

    CLOSED = "closed"
    """At once, with or without a word."""
    WAITS = "waits"
    """Nothing yet: the packet is not whole."""
    EITHER = "either"
    """Brokers differ; none of it reaches us."""


@dataclass(frozen=True, slots=True)
class Case:
    """``sent`` after a good CONNECT, or instead of it when ``first``."""

    name: str
    sent: bytes
    fate: Fate = Fate.CLOSED
    first: bool = False


def text(value: bytes) -> bytes:
    """A string of MQTT: its length, then its bytes."""
    return len(value).to_bytes(2, "big") + value


def packet(first: int, body: bytes) -> bytes:
    """A control packet: first byte, remaining length, body."""
    length, encoded = len(body), bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes([first, *encoded]) + body


def connect(
    username: bytes | None,
    password: bytes | None,
    *,
    client_id: bytes = b"",
    flags: int = CLEAN,
    properties: bytes = b"",
    name: bytes = b"MQTT",
    level: int = 5,
    keep_alive: int = 60,
    will: bytes = b"",
) -> bytes:
    """A CONNECT of MQTT 5."""
    flags |= (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = text(name) + bytes([level, flags]) + keep_alive.to_bytes(2, "big") + bytes([len(properties)]) + properties
    body += text(client_id) + will
    return packet(0x10, body + b"".join(text(part) for part in (username, password) if part is not None))


def publish(
    topic: bytes, payload: bytes = b'{"a":1}', *, first: int = 0x32, number: int = 1, properties: bytes = b""
) -> bytes:
    """A PUBLISH of QoS 1, unless ``first`` says something else."""
    identifier = number.to_bytes(2, "big") if first & 0x06 else b""
    return packet(first, text(topic) + identifier + bytes([len(properties)]) + properties + payload)


def subscribe(*filters: bytes, options: int = 1) -> bytes:
    """A SUBSCRIBE."""
    return packet(0x82, b"\x00\x01\x00" + b"".join(text(one) + bytes([options]) for one in filters))


def cases(username: bytes, password: bytes, topic: bytes) -> Iterable[Case]:
    """All of them; ``topic`` is one that the user may publish to."""
    good = connect(username, password)
    strange = (b"\x00", b"\x01", b"\x7f", b"\xef\xbf\xbf", b"\xed\xa0\x80", b"\xc0\x80")
    yield from (
        Case("M01 no topic", publish(b"")),
        Case("M01 a wildcard", publish(b"tenant/+/device/x/telemetry")),
        Case("M01 everything", publish(b"#")),
        *(Case(f"M02 {one!r} in a topic", publish(topic + one)) for one in strange),
        *(Case(f"M10 filter {one!r}", subscribe(one)) for one in (b"#/a", b"a+", b"")),
        Case("M10 no filter", packet(0x82, b"\x00\x01\x00")),
        Case("M10 QoS 3", subscribe(b"a", options=3)),
        Case("M11 a wildcard for a group", subscribe(b"$share/+/a"), Fate.EITHER),
        Case("M11 shared, and not our own", subscribe(b"$share/g/a", options=5), Fate.EITHER),
        Case("M12 QoS 3", publish(topic, first=0x36)),
        Case("M12 packet id 0", publish(topic, number=0)),
        Case("M14 a property twice", publish(topic, properties=b"\x01\x01\x01\x01")),
        Case("M14 an unknown property", publish(topic, properties=b"\x7f\x00")),
        Case("M14 a wildcard to answer to", publish(topic, properties=b"\x08\x00\x01#"), Fate.EITHER),
        Case("M18 200 MB to come", b"\x32\x80\x84\xaf\x5f" + bytes(64)),
        Case("M18 a length of five bytes", b"\x32\xff\xff\xff\xff\x01"),
        Case("M18 less than it says", b"\x32\x64" + text(topic), Fate.WAITS),
        Case("M19 a second CONNECT", good),
        Case("M19 AUTH", packet(0xF0, b"\x00\x00")),
        Case("M19 a PINGRESP", b"\xd0\x00", Fate.EITHER),
        Case("M19 type 0", b"\x00\x00"),
        Case("M19 a PUBACK for nothing", packet(0x40, b"\x12\x34"), Fate.EITHER),
        Case("M20 another protocol", connect(username, password, name=b"MQXX"), first=True),
        Case("M20 level 6", connect(username, password, level=6), first=True),
        Case("M20 the reserved flag", connect(username, password, flags=CLEAN | 1), first=True),
        Case("M20 a will of QoS 3", connect(username, password, flags=CLEAN | WILL | 0x18,
                                            will=b"\x00" + text(topic) + text(b"")), first=True),
        Case("M20 a will to a wildcard", connect(username, password, flags=CLEAN | WILL,
                                                 will=b"\x00" + text(b"a/#") + text(b"")), first=True),
        Case("M23 NUL in a client id", connect(username, password, client_id=b"a\x00b"), first=True),
        Case("M23 receive maximum 0", connect(username, password, properties=b"\x21\x00\x00"), first=True),
        Case("M24 half a CONNECT", good[: len(good) // 2], Fate.WAITS, first=True),
        Case("M24 one byte", good[:1], Fate.WAITS, first=True),
        Case("M24 silence", b"", Fate.WAITS, first=True),
        Case("M29 HTTP", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n", first=True),
        Case("M29 TLS", bytes.fromhex("16030100c8010000c40303") + bytes(194), first=True),
    )  # fmt: skip
