"""A reading as the bytes of one row of ``COPY telemetry ... (FORMAT binary)``.

Built once at admission, so that the writer only joins bytes. The column order is that of the table
(sql/migrations/0001); the format is that of the Postgres manual, COPY, "Binary Format": big-endian, each field behind
its length in 4 bytes, -1 for NULL; a jsonb value opens with its version, 1; times are microseconds since 2000-01-01.
"""

import struct

from appliance.devices.site_ids import mentioned_site
from appliance.ingest.envelope import Envelope
from appliance.reading import Kind

COLUMNS = (
    "tenant_id", "device_id", "kind", "ts", "digest", "received_at", "ts_adjusted", "late",
    "seq", "site_id", "lat", "lng", "metrics",
)  # fmt: skip

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_POSTGRES_EPOCH = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970."""
_NULL = b"\xff\xff\xff\xff"
_KEY_AND_FLAGS = struct.Struct("!iqi8siqi?i?")
_PLAIN = struct.Struct("!iqi8siqi?i?iiiiiB")
_WITH_SEQ = struct.Struct("!iqi8siqi?i?iqiiiiB")
_INT8 = struct.Struct("!iq")
_FLOAT8 = struct.Struct("!id")
_JSONB = struct.Struct("!iB")
_LENGTH = struct.Struct("!i")


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH.pack(len(data)) + data


def prefix(tenant_id: str, device_id: str, kind: Kind) -> bytes:
    """Return the start of each row of one device and kind: the number of fields and the first three of them."""
    return struct.pack("!h", len(COLUMNS)) + _text(tenant_id) + _text(device_id) + _text(kind.value)


def row(start: bytes, envelope: Envelope, ts: int, digest: bytes, received: int, adjusted: bool, late: bool) -> bytes:
    """Build a row: ``start`` is of :func:`prefix`, times are microseconds since 1970, and the digest has 8 bytes."""
    ts -= _POSTGRES_EPOCH
    received -= _POSTGRES_EPOCH
    encoded, seq = envelope.encoded, envelope.seq
    size = len(encoded) + 1
    if envelope.plain:
        if seq is None:
            middle = _PLAIN.pack(8, ts, 8, digest, 8, received, 1, adjusted, 1, late, -1, -1, -1, -1, size, 1)
        else:
            middle = _WITH_SEQ.pack(8, ts, 8, digest, 8, received, 1, adjusted, 1, late, 8, seq, -1, -1, -1, size, 1)
        return start + middle + encoded
    return b"".join(
        (
            start,
            _KEY_AND_FLAGS.pack(8, ts, 8, digest, 8, received, 1, adjusted, 1, late),
            _NULL if seq is None else _INT8.pack(8, seq),
            _NULL if envelope.site is None else _text(mentioned_site(envelope.site).site_id),
            _NULL if envelope.lat is None else _FLOAT8.pack(8, envelope.lat),
            _NULL if envelope.lng is None else _FLOAT8.pack(8, envelope.lng),
            _JSONB.pack(size, 1),
            encoded,
        )
    )
