"""The messages of one device, accepted and refused, as people look through them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.db import roles
from appliance.db.partitions import ensure_partitions
from appliance.db.trio_psycopg import Connection, connect
from appliance.ingest.telemetry import messages
from appliance.ingest.telemetry.messages import MessagePosition, RefusedMessage, StoredReading
from appliance.reading import Kind, Reason
from tests.support.postgres_server import Database
from tests.support.tenants import customer

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
async def ingest(database: Database) -> AsyncIterator[Connection[Any]]:
    opened = await connect(database.conninfo(roles.INGEST))
    await ensure_partitions(opened, (NOW - timedelta(days=2)).date(), NOW.date())
    for tenant in ("acme", "rival"):
        await opened.execute(
            "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), %s)", [tenant]
        )
    yield opened
    opened.abandon()


async def accept(
    ingest: Connection[Any], at: float, *, digest: int = 1, seq: int | None = None, tenant: str = "acme"
) -> None:
    """A reading of device d, ``at`` seconds before NOW."""
    ts = NOW - timedelta(seconds=at)
    await ingest.execute(
        "INSERT INTO telemetry VALUES"
        " (%s, 'd', 'telemetry', %s, %s, %s, false, false, %s, 'roof', 1.5, 2.5, '{\"t\": 4.5}')",
        [tenant, ts, digest, ts + timedelta(milliseconds=40), seq],
    )


async def refuse(ingest: Connection[Any], at: float, payload: bytes = b"{", *, tenant: str = "acme") -> None:
    await ingest.execute(
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, detail, payload)"
        " VALUES (%s, 'tenant/acme/device/d/telemetry', %s, 'd', 'telemetry', 'INVALID_JSON', 'at byte 1', %s)",
        [NOW - timedelta(seconds=at), tenant, payload],
    )


def seconds(found: Any) -> list[tuple[str, float]]:
    """Each message as what it is and how many seconds before NOW."""
    return [
        ("stored" if isinstance(one, StoredReading) else "refused", (NOW - one.at).total_seconds()) for one in found
    ]


async def test_readings_and_refusals_stand_in_one_order(ingest: Connection[Any]) -> None:
    await accept(ingest, 50)
    await refuse(ingest, 40)
    await accept(ingest, 30)
    await refuse(ingest, 20)
    found = await messages.page(ingest, "acme", "d", limit=20)
    assert seconds(found.messages) == [("refused", 20), ("stored", 30), ("refused", 40), ("stored", 50)]
    assert found.next is None
    refused, stored = found.messages[0], found.messages[1]
    assert isinstance(refused, RefusedMessage)
    assert (refused.reason, refused.detail, refused.payload_start) == (Reason.INVALID_JSON, "at byte 1", b"{")
    assert isinstance(stored, StoredReading)
    assert (stored.kind, stored.metrics, stored.site_id, stored.lat) == (Kind.TELEMETRY, {"t": 4.5}, "roof", 1.5)
    assert stored.delay == pytest.approx(0.04)


async def test_every_message_is_on_exactly_one_page(ingest: Connection[Any]) -> None:
    """Over a border of days, with several at the same instant, and with one kind running out before the other."""
    for number in range(7):
        await accept(ingest, 3600 * number)
        await accept(ingest, 3600 * number, digest=-(2**63) + number)
    for number in range(9, 0, -1):
        await refuse(ingest, 7200 * number)
    found: list[StoredReading | RefusedMessage] = []
    after: MessagePosition | None = None
    while True:
        part = await messages.page(ingest, "acme", "d", limit=3, after=after)
        found += part.messages
        after = part.next
        if after is None:
            break
    assert len(found) == 14 + 9
    keys = {(one.ts, one.digest) if isinstance(one, StoredReading) else one.event_id for one in found}
    assert len(keys) == len(found)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)


async def test_a_large_payload_is_cut_and_its_size_told(ingest: Connection[Any]) -> None:
    await refuse(ingest, 1, b"\xff" * 5000)
    (refused,) = (await messages.page(ingest, "acme", "d", limit=20)).messages
    assert isinstance(refused, RefusedMessage)
    assert (len(refused.payload_start), refused.payload_size) == (messages.SHOWN_BYTES, 5000)


async def test_another_tenants_device_of_the_same_name_has_its_own(ingest: Connection[Any], database: Database) -> None:
    await accept(ingest, 1, tenant="rival", seq=1)
    await refuse(ingest, 1, tenant="rival")
    assert (await messages.page(ingest, "acme", "d", limit=20)).messages == []
    async with customer(database, "acme") as web:
        assert (await messages.page(web, "rival", "d", limit=20)).messages == []
        assert await messages.count_since(web, "rival", "d", NOW - timedelta(days=1)) == 0
        assert (await messages.numbering(web, "rival", "d", NOW - timedelta(days=1))).readings == 0


async def test_numbers_left_out_and_restarts_are_counted(ingest: Connection[Any]) -> None:
    for at, seq in enumerate(reversed([5, 6, 9, 10, 1, 2, 2**63 - 1])):
        await accept(ingest, at, seq=seq)
    await accept(ingest, 100)  # without a number
    found = await messages.numbering(ingest, "acme", "d", NOW - timedelta(days=1))
    assert (found.readings, found.gaps, found.missing, found.restarts) == (7, 2, 2 + 2**63 - 1 - 2 - 1, 1)
    assert found.since == NOW - timedelta(seconds=6)
    none = await messages.numbering(ingest, "acme", "d", NOW + timedelta(days=1))
    assert (none.readings, none.since, none.missing) == (0, None, 0)


async def test_readings_are_counted_as_far_as_it_matters(
    ingest: Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(5):
        await accept(ingest, at)
    assert await messages.count_since(ingest, "acme", "d", NOW - timedelta(seconds=2)) == 3
    monkeypatch.setattr(messages, "COUNTED", 3)
    assert await messages.count_since(ingest, "acme", "d", NOW - timedelta(days=1)) == 4
