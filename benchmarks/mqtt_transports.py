"""Receiving over TLS beside plain TCP, from a Mosquitto on this machine: ``python -m benchmarks.mqtt_transports``.

The broker holds a queue for a client that is away. It comes back, and takes all of it in the appliance's way: batches,
acknowledged in order. The two transports take turns, each with a queue of its own, so that a machine that is busy is
busy for both.
"""

import sys
import time
from collections.abc import Mapping, Sequence

import trio

from appliance import logs
from appliance.config import Log
from appliance.mqtt.client import Client
from appliance.mqtt.transport import Tcp, Tls, TlsFiles, Transport
from benchmarks.measurements import line, table
from tests.support.certificates import Authority
from tests.support.mosquitto_server import MosquittoServer

MESSAGES = 40_000
TURNS = 5
RECEIVE_MAX = 4096
"""The appliance's default."""
SESSION_SECONDS = 600
GROUP = 2000
TOPIC = "tenant/acme/device/device-0001/telemetry"
PAYLOAD = b'{"ts":1764000000.123,"temperature":21.5,"humidity":48,"battery":3.31}'
AIM = 0.6
"""Of the rate of plain TCP."""
PATIENCE = 300.0


def subscriber(transport: Transport, identifier: str) -> Client:
    """Return a client whose session outlives its connections."""
    return Client(
        transport=transport,
        identifier=identifier,
        session_expiry_interval=SESSION_SECONDS,
        receive_max=RECEIVE_MAX,
    )


async def fill(server: MosquittoServer, identifier: str) -> None:
    """Leave a queue for the client with the broker."""
    plain = Tcp(server.host, server.port)
    async with subscriber(plain, identifier) as client:
        await client.subscribe(TOPIC)
    async with Client(transport=plain) as publisher:
        for _ in range(0, MESSAGES, GROUP):
            await publisher.publish_many([(TOPIC, PAYLOAD)] * GROUP)


async def take(transport: Transport, identifier: str) -> tuple[float, float]:
    """Receive and acknowledge the queue; return messages a second, and microseconds of our processor time a message."""
    received = 0
    begun, cpu = time.perf_counter(), time.process_time()
    async with subscriber(transport, identifier) as client:
        batches = client.batches()
        with trio.fail_after(PATIENCE):
            while received < MESSAGES:
                batch = await anext(batches)
                received += len(batch.packets)
                await client.acknowledge(batch)
        seconds, busy = time.perf_counter() - begun, time.process_time() - cpu
    async with Client(transport=transport, identifier=identifier, clean_start=True):
        return MESSAGES / seconds, busy / MESSAGES * 1e6


async def measure(server: MosquittoServer, transports: Mapping[str, Transport]) -> dict[str, list[tuple[float, float]]]:
    """Return rates and processor times of each transport, turn by turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in transports}
    for turn in range(TURNS):
        for name in list(transports)[:: -1 if turn % 2 else 1]:
            await fill(server, f"benchmark-{name}")
            found[name].append(await take(transports[name], f"benchmark-{name}"))
    return found


def report(found: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return the table: rate and processor time of each transport, and the ratio of each turn."""
    lines = [line(f"{name}, messages a second", [rate for rate, _ in turns]) for name, turns in found.items()]
    lines += [line(f"{name}, CPU us a message", [cpu for _, cpu in turns], 1) for name, turns in found.items()]
    ratios = [tls / tcp for (tls, _), (tcp, _) in zip(found["TLS"], found["TCP"], strict=True)]
    return table([*lines, line("TLS to TCP", ratios, 2, aim=f">= {AIM}")])


def main() -> None:
    """Print the table."""
    logs.configure(Log(level="warning"), sys.stderr)
    authority = Authority()
    with MosquittoServer(certificate=authority.certificate("localhost")) as server:
        ca = server.directory / "authority.pem"
        ca.write_text(authority.pem)
        tls = Tls(Tcp(server.host, server.tls_port), TlsFiles(ca_file=ca), "localhost")
        transports: dict[str, Transport] = {"TCP": Tcp(server.host, server.port), "TLS": tls}
        print(f"{MESSAGES:,} messages of {len(PAYLOAD)} bytes in a queue, {TURNS} turns each")
        print(report(trio.run(measure, server, transports)))


if __name__ == "__main__":
    main()
