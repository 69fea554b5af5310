"""Floods a broker as one user over raw sockets, in a process of its own: ``python -m tests.support.flooder ARGUMENT``.

The argument is a :class:`Flood` as JSON. Nothing waits for an answer; a connection that ends is opened again.
Prints how many messages were sent and how often the broker let nobody in.
"""

import itertools
import json
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass

AGAIN_SECONDS = 0.2
GROUP = 20
"""Messages sent between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What is sent. ``topics`` are taken in turn; ``{}`` in one stands for a number that is never the same."""

    port: int
    username: str
    password: str
    topics: tuple[str, ...]
    size: int
    """Bytes of each payload."""
    rate: float
    """Messages a second; 0 is as many as it takes."""
    seconds: float
    retain: bool = True

    def command(self) -> list[str]:
        """Return the command of the process."""
        return [sys.executable, "-m", "tests.support.flooder", json.dumps(asdict(self))]


def connect(port: int, username: str, password: str, client_id: str) -> socket.socket:
    """Return a connection that the broker accepted (MQTT 3.1.1, clean session). Raises ConnectionError."""
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    body = _text("MQTT") + b"\x04\xc2\x00\x00" + _text(client_id) + _text(username) + _text(password)
    link.sendall(b"\x10" + _length(len(body)) + body)
    answer = link.recv(4)
    if len(answer) < 4 or answer[3]:
        link.close()
        raise ConnectionRefusedError("the broker refused the connection")
    return link


def publish_packet(topic: str, payload: bytes, *, packet_id: int = 0, retain: bool = False) -> bytes:
    """Return a PUBLISH packet: QoS 1 with a packet id, else QoS 0."""
    identifier = struct.pack(">H", packet_id) if packet_id else b""
    body = _text(topic) + identifier + payload
    return bytes([0x30 | (2 if packet_id else 0) | retain]) + _length(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _send(flood: Flood) -> tuple[int, int]:
    began, payload, sent, refused = time.monotonic(), b"x" * flood.size, 0, 0
    numbers, topics = itertools.count(), itertools.cycle(flood.topics)
    link: socket.socket | None = None
    while (passed := time.monotonic() - began) < flood.seconds:
        if flood.rate and sent > flood.rate * passed:
            time.sleep(0.005)
            continue
        try:
            link = link or connect(flood.port, flood.username, flood.password, f"flood-{flood.username}")
            group = [
                publish_packet(next(topics).format(next(numbers)), payload, retain=flood.retain) for _ in range(GROUP)
            ]
            link.sendall(b"".join(group))
            sent += GROUP
        except OSError:
            link, refused = None, refused + 1
            time.sleep(AGAIN_SECONDS)
    return sent, refused


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sent, refused = _send(Flood(**{**given, "topics": tuple(given["topics"])}))
    sys.stdout.write(json.dumps({"sent": sent, "refused": refused}))
