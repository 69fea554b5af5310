"""The load: publishes a stream with QoS 1 over several connections, faster than what it measures.

A process of its own: a ``Plan`` as one line of JSON on standard input, ``ready`` on standard output when all packets
are built and all connections stand, then ``go`` starts it, and a ``Report`` as one line of JSON ends it. MQTT 3.1.1,
because its PUBACK has always four bytes: counting bytes counts acknowledgements. Nothing is done per message.
"""

import resource
import select
import socket
import struct
import sys
import time
from array import array

import msgspec

from benchmarks.messages import Stream, messages, payload, publish_packet, topic, topic_head

ANSWER_SECONDS = 10.0
STALLED_SECONDS = 30.0
CONNACK_BYTES = 4
PUBACK_BYTES = 4
LAST_PACKET_ID = 65535


class Plan(msgspec.Struct, frozen=True):
    """What to publish and where. ``window``: unacknowledged messages a connection. ``rate``: a second, 0 at once."""

    host: str
    port: int
    stream: Stream
    username: str = ""
    password: str = ""
    connections: int = 8
    window: int = 4000
    rate: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """``started`` and ``acknowledged``: seconds since 1970 of the first publish and the last PUBACK.

    ``published`` has the moment of each message when the plan had a rate. ``cpu`` is seconds of user and system.
    """

    started: float
    acknowledged: float
    cpu: float
    published: list[float]


def connect(plan: Plan, name: str) -> socket.socket:
    """Return a connection that the broker has accepted; raises SystemExit when it does not."""
    flags = 0x02 | (0xC0 if plan.username else 0)
    body = topic_head("MQTT") + struct.pack("!BBH", 4, flags, 0) + topic_head(name)
    if plan.username:
        body += topic_head(plan.username) + topic_head(plan.password)
    connection = socket.create_connection((plan.host, plan.port), ANSWER_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    size = len(body)
    length = bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))
    connection.sendall(b"\x10" + length + body)
    answer = connection.recv(CONNACK_BYTES)
    if len(answer) < CONNACK_BYTES or answer[3]:
        raise SystemExit(f"the broker at {plan.host}:{plan.port} refused the load's connection: {answer.hex()}")
    return connection


class Lane:
    """One connection with all its packets ready as one byte string."""

    def __init__(self, connection: socket.socket, packets: list[bytes], window: int) -> None:
        self.connection = connection
        self.count = len(packets)
        self.acknowledged = 0
        self._bytes_in = 0
        self._window = window
        self._data = memoryview(b"".join(packets))
        self._sent = 0
        ends = array("Q")
        end = 0
        for packet in packets:
            end += len(packet)
            ends.append(end)
        self._ends = ends

    @property
    def permitted(self) -> int:
        """Bytes that may have been sent by now."""
        last = min(self.acknowledged + self._window, self.count)
        return self._ends[last - 1]

    @property
    def sendable(self) -> bool:
        """Whether the window leaves something to send."""
        return self._sent < self.permitted

    def send(self) -> None:
        """As much as the window and the kernel take."""
        self._sent += self.connection.send(self._data[self._sent : self.permitted])

    def receive(self) -> None:
        """Count what was acknowledged."""
        data = self.connection.recv(65536)
        if not data:
            raise SystemExit("the broker closed a connection of the load")
        self._bytes_in += len(data)
        self.acknowledged = self._bytes_in // PUBACK_BYTES


def lanes(plan: Plan) -> list[Lane]:
    """Return the stream dealt out by device, so that each device keeps its order."""
    heads = [topic_head(topic(plan.stream.tenant, number)) for number in range(plan.stream.devices)]
    packets: list[list[bytes]] = [[] for _ in range(plan.connections)]
    for number, body in messages(plan.stream):
        mine = packets[number % plan.connections]
        mine.append(publish_packet(heads[number], len(mine) % LAST_PACKET_ID + 1, body))
    return [
        Lane(connect(plan, f"load-{plan.stream.start}-{index}"), mine, plan.window)
        for index, mine in enumerate(packets)
        if mine
    ]


def flood(ready: list[Lane]) -> None:
    """Send everything as fast as the broker takes it; returns when all of it is acknowledged."""
    poll = select.poll()
    by_number = {lane.connection.fileno(): lane for lane in ready}
    for number, lane in by_number.items():
        lane.connection.setblocking(False)
        poll.register(number, select.POLLIN | select.POLLOUT)
    while by_number:
        events = poll.poll(STALLED_SECONDS * 1000)
        if not events:
            raise SystemExit("the broker has acknowledged nothing for 30 s")
        for number, event in events:
            lane = by_number[number]
            if event & ~select.POLLOUT:
                lane.receive()
            if event & select.POLLOUT:
                lane.send()
            if lane.acknowledged >= lane.count:
                poll.unregister(number)
                del by_number[number]
            else:
                poll.modify(number, select.POLLIN | (select.POLLOUT if lane.sendable else 0))


def paced(plan: Plan, connection: socket.socket) -> list[float]:
    """Publish at the plan's rate over one connection, so that order is kept; each ``ts`` is the moment it leaves."""
    stream = plan.stream
    heads = [topic_head(topic(stream.tenant, number)) for number in range(stream.devices)]
    published: list[float] = []
    acknowledged = 0
    started = time.monotonic()
    connection.setblocking(True)
    while acknowledged < stream.count * PUBACK_BYTES:
        due = min(int((time.monotonic() - started) * plan.rate) + 1, stream.count)
        if len(published) < due:
            now = time.time()
            packets = []
            for index in range(len(published), due):
                seq, number = divmod(index, stream.devices)
                body = payload(number, seq, round(now * 1000))
                packets.append(publish_packet(heads[number], index % LAST_PACKET_ID + 1, body))
            connection.sendall(b"".join(packets))
            published += [now] * len(packets)
        wait = started + len(published) / plan.rate - time.monotonic() if due < stream.count else ANSWER_SECONDS
        if select.select([connection], [], [], max(wait, 0))[0]:
            acknowledged += len(connection.recv(65536))
    return published


def main() -> None:
    """Read the plan, run it, print the report."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    prepared = [] if plan.rate else lanes(plan)
    line = connect(plan, f"load-{plan.stream.start}-paced") if plan.rate else None
    print("ready", flush=True)
    sys.stdin.readline()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.time()
    published: list[float] = []
    if line is not None:
        published = paced(plan, line)
    else:
        flood(prepared)
    acknowledged = time.time()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(msgspec.json.encode(Report(started, acknowledged, cpu, published)).decode(), flush=True)


if __name__ == "__main__":
    main()
