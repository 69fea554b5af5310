"""Chooses which refused messages are kept as rows, and prepares the statements that write rows and exact counts.

Enters: the refused messages of a batch. Leaves: parameters of statements. Rows are a sample, at most ``ROWS_A_MINUTE``
for each device and reason and ``BYTES_A_MINUTE`` for each tenant, since whoever has a claim user can invent devices;
messages of a reason that holds them for replay are all kept. Never: a count that is not exact.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from appliance.ingest.batch import MICROSECONDS, MINUTE, RefusedSubmission
from appliance.reading import HELD_REASONS

ROWS_A_MINUTE = 10
BYTES_A_MINUTE = 2 * 1024 * 1024
"""Bytes of payloads of one tenant that are kept as a sample within a minute: 128 of the largest that is stored."""
MAX_SAMPLED = 100_000
"""Pairs of device and reason that are counted within a minute; further ones share one limit."""

_EARLIEST, _LATEST = 0, 253_402_300_799 * MICROSECONDS
"""The range of a datetime: an ``event_ts`` outside of it, which a device may send, is left out."""


class RowSampler:
    """Chooses the refused messages that are kept as rows."""

    def __init__(self) -> None:
        self._minute = -1
        self._kept: Counter[tuple[str | None, str | None, str]] = Counter()
        self._bytes: Counter[str | None] = Counter()
        """Bytes kept of each tenant."""

    def keep(self, refused: Iterable[RefusedSubmission], received_at: int) -> list[RefusedSubmission]:
        """Return those of ``refused`` that become rows."""
        minute = received_at // MINUTE
        if minute != self._minute:
            self._minute = minute
            self._kept.clear()
            self._bytes.clear()
        return [message for message in refused if message.reason in HELD_REASONS or self._take(message)]

    def keep_once(
        self, refused: Iterable[RefusedSubmission], received_at: int, decided: dict[int, bool]
    ) -> list[RefusedSubmission]:
        """Do as ``keep`` over all tries of a batch; messages in ``decided``, by index, are not counted again."""
        found = list(refused)
        fresh = [message for message in found if message.index not in decided]
        kept = {message.index for message in self.keep(fresh, received_at)}
        decided.update((message.index, message.index in kept) for message in fresh)
        return [message for message in found if decided[message.index]]

    def _take(self, message: RefusedSubmission) -> bool:
        key = (message.tenant_id, message.device_id, message.reason.value)
        if key not in self._kept and len(self._kept) >= MAX_SAMPLED:
            key = (None, None, "")
        size = len(message.payload)
        if self._kept[key] >= ROWS_A_MINUTE or self._bytes[message.tenant_id] + size > BYTES_A_MINUTE:
            return False
        self._kept[key] += 1
        self._bytes[message.tenant_id] += size
        return True


def event_parameters(messages: Sequence[RefusedSubmission], received_at: int, first: int) -> dict[str, Any]:
    """Return the parameters of the statement that inserts quarantine rows, one list a column.

    ``first`` is the index of the first message of their batch: each row's time is the batch's and its place in it.
    """
    return {
        "ingested_at": moment(received_at),
        "places": [message.index - first for message in messages],
        "event_ts": [_event_time(message.event_ts) for message in messages],
        "topics": [plain(message.topic) for message in messages],
        "tenants": [message.tenant_id for message in messages],
        "sites": [message.site_id for message in messages],
        "devices": [message.device_id for message in messages],
        "kinds": [message.kind for message in messages],
        "reasons": [message.reason.value for message in messages],
        "details": [plain(message.detail) for message in messages],
        "payloads": [message.payload for message in messages],
    }


def counter_parameters(messages: Iterable[RefusedSubmission], received_at: int) -> dict[str, Any]:
    """Return the parameters of the statement that adds to the exact counters, sorted by key."""
    counts = Counter((message.tenant_id or "", message.reason.value) for message in messages)
    keys = sorted(counts)
    return {
        "minute": moment(received_at // MINUTE * MINUTE),
        "tenants": [tenant for tenant, _ in keys],
        "reasons": [reason for _, reason in keys],
        "counts": [counts[key] for key in keys],
    }


def moment(microseconds: int) -> datetime:
    """Return microseconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(microseconds // MICROSECONDS, UTC).replace(microsecond=microseconds % MICROSECONDS)


def _event_time(microseconds: int | None) -> datetime | None:
    return moment(microseconds) if microseconds is not None and _EARLIEST <= microseconds <= _LATEST else None


def plain(text: str) -> str:
    """Return text without U+0000, which Postgres does not store."""
    return text.replace("\0", "\\u0000")
