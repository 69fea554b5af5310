"""The cost of receiving a message, before anything processes it: ``python -m benchmarks.mqtt_session``.

The same stream of QoS 1 messages, cut into chunks as the client reads them, goes through the bare codec and through
the session; the difference is our own code. Acknowledging whole batches is measured beside it.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import mqtt5
from mqtt5 import ConnAckPacket, PublishPacket, QoS

from appliance.mqtt.events import Publishes
from appliance.mqtt.pump import CHUNK_BYTES
from appliance.mqtt.session import Session
from appliance.mqtt.terms import Settings

MESSAGES = 60_000
DEVICES = 1_000
PAYLOAD = b'{"ts":1764000000.123,"temperature":21.5,"humidity":48,"battery":3.31}'
ROUNDS = 7


def stream() -> bytes:
    """Return the messages as a broker sends them, packet ids counting up."""
    return b"".join(
        PublishPacket(
            f"tenant/acme/device/device-{number % DEVICES:04}/telemetry",
            PAYLOAD,
            qos=QoS.AT_LEAST_ONCE,
            packet_id=number + 1,
        ).write()
        for number in range(MESSAGES)
    )


def codec(chunks: list[bytes]) -> None:
    """The bare codec over the same chunks, cut-off packets carried over: the floor."""
    read = mqtt5.read
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        view = memoryview(data)
        packets = []
        offset = 0
        try:
            while True:
                packet, size = read(view[offset:])
                packets.append(packet)
                offset += size
        except IndexError:
            rest = data[offset:]


def connected_session() -> Session:
    """Return a session that the broker has accepted."""
    session = Session(Settings("benchmark", receive_max=65535))
    session.connect(0.0)
    session.receive_data(ConnAckPacket().write(), 0.0)
    session.data_to_send(0.0)
    return session


def parse(chunks: list[bytes]) -> None:
    """All chunks through a session."""
    session = connected_session()
    for chunk in chunks:
        session.receive_data(chunk, 0.0)


def acknowledge(session: Session, events: list[Publishes]) -> None:
    """Settle every batch and collect the bytes."""
    for event in events:
        session.acknowledge(session.generation, event.first, event.count)
        session.data_to_send(0.0)


def received(chunks: list[bytes]) -> tuple[Session, list[Publishes]]:
    """Return a session that has read the chunks, and its batches."""
    session = connected_session()
    events = [event for chunk in chunks for event in session.receive_data(chunk, 0.0)]
    return session, [event for event in events if isinstance(event, Publishes)]


def nanoseconds(work: Callable[[], object]) -> float:
    """Processor time of this thread per message: other processes do not count."""
    begun = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begun) / MESSAGES


def main() -> None:
    """Print the table."""
    data = stream()
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    rounds = []
    for _ in range(ROUNDS):
        bare, whole = nanoseconds(lambda: codec(chunks)), nanoseconds(lambda: parse(chunks))
        rounds.append((bare, whole, nanoseconds(partial(acknowledge, *received(chunks)))))
    bare, whole, acknowledging = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{MESSAGES} messages of {len(data) // MESSAGES} bytes in chunks of {CHUNK_BYTES}, ns per message (medians)")
    print(f"  codec alone          {bare:7.0f}")
    print(f"  session              {whole:7.0f}")
    print(f"  session beyond codec {whole - bare:7.0f}")
    print(f"  acknowledging        {acknowledging:7.0f}")


if __name__ == "__main__":
    main()
