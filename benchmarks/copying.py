"""The database's limit: the rows that the appliance would store, by bare COPY, each batch its own transaction.

A process of its own, like ``load``: a ``Plan`` in, ``ready`` when all bytes are built, ``go``, a ``Report`` out. The
rows are the appliance's own: its decoder and its row format make them, before the clock starts.
"""

import hashlib
import sys
import time

import msgspec
import psycopg

from appliance.ingest.envelope import Decoder
from appliance.ingest.telemetry import copy_row
from appliance.reading import Kind, Refusal
from benchmarks.messages import Stream, device_name, messages

DIGEST_BYTES = 8
MICROSECONDS = 1_000_000


class Plan(msgspec.Struct, frozen=True):
    """What to copy and where: ``batch`` rows a transaction, by the COPY statement ``statement``."""

    conninfo: str
    statement: str
    stream: Stream
    batch: int


class Report(msgspec.Struct, frozen=True):
    """Seconds since 1970: before the first COPY, after the last commit."""

    started: float
    committed: float


def batches(stream: Stream, size: int) -> list[bytes]:
    """Return the rows of the stream as whole binary COPY inputs of ``size`` rows."""
    decode = Decoder().decode
    starts = [copy_row.prefix(stream.tenant, device_name(number), Kind.TELEMETRY) for number in range(stream.devices)]
    received = time.time_ns() // 1000
    rows = []
    for number, body in messages(stream):
        envelope = decode(body, Kind.TELEMETRY)
        if isinstance(envelope, Refusal) or envelope.ts is None:
            raise SystemExit(f"the stream holds a message that is refused: {body!r}")
        digest = hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()
        rows.append(copy_row.row(starts[number], envelope, envelope.ts, digest, received, adjusted=False, late=False))
    return [
        b"".join((copy_row.HEADER, *rows[first : first + size], copy_row.TRAILER))
        for first in range(0, len(rows), size)
    ]


def main() -> None:
    """Read the plan, run it, print the report."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    prepared = batches(plan.stream, plan.batch)
    with psycopg.connect(plan.conninfo) as connection:
        print("ready", flush=True)
        sys.stdin.readline()
        started = time.time()
        for data in prepared:
            with connection.cursor() as cursor, cursor.copy(plan.statement.encode()) as copy:
                copy.write(data)
            connection.commit()
        committed = time.time()
    print(msgspec.json.encode(Report(started, committed)).decode(), flush=True)


if __name__ == "__main__":
    main()
