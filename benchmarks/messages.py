"""The stream of messages used by all measurements: pure, the same bytes for the same stream.

1,000 devices in turn, three metrics a message, each message with its own ``ts`` and ``seq``.
"""

import struct
from collections.abc import Iterator

import msgspec


class Stream(msgspec.Struct, frozen=True):
    """Which messages: ``count`` of them over ``devices``, in turn; device times start at ``start`` (milliseconds)."""

    tenant: str
    devices: int
    count: int
    start: int


def device_name(number: int) -> str:
    """Return the id of a device of the fleet."""
    return f"bench-{number:05d}"


def topic(tenant: str, number: int) -> str:
    """Return the telemetry topic of device ``number``."""
    return f"tenant/{tenant}/device/{device_name(number)}/telemetry"


def payload(number: int, seq: int, ts: int) -> bytes:
    """Message ``seq`` of device ``number`` at ``ts`` milliseconds: three metrics, as a sensor would send them."""
    temperature = 2000 + (number * 7 + seq * 13) % 900
    humidity = 350 + (number * 3 + seq * 5) % 400
    battery = 4200 - (seq + number) % 700
    return (
        b'{"ts":%d,"seq":%d,"temperature":%d.%02d,"humidity":%d.%d,"battery":%d.%03d}'
        % (ts, seq, *divmod(temperature, 100), *divmod(humidity, 10), *divmod(battery, 1000))
    )  # fmt: skip


def messages(stream: Stream) -> Iterator[tuple[int, bytes]]:
    """Device number and payload of each message of the stream. A device's times are a millisecond apart."""
    for index in range(stream.count):
        seq, number = divmod(index, stream.devices)
        yield number, payload(number, seq, stream.start + seq)


def publish_packet(head: bytes, packet_id: int, body: bytes) -> bytes:
    """Return an MQTT 3.1.1 PUBLISH with QoS 1 (§3.3); ``head`` is the topic behind its length."""
    size = len(head) + 2 + len(body)
    length = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    return b"\x32" + length + head + packet_id.to_bytes(2, "big") + body


def topic_head(name: str) -> bytes:
    """Return a topic after its length, as in a packet."""
    encoded = name.encode()
    return struct.pack("!H", len(encoded)) + encoded
