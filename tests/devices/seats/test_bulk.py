"""One step for many devices: one answer each, and the books of seats hold."""

import pytest
import trio

from appliance.db.trio_psycopg import connect
from appliance.devices.device import DeviceStatus, Event, NewDevice
from appliance.devices.seats import bulk, changes
from appliance.devices.seats.bulk import BulkAnswer, change_many
from appliance.errors import Invalid, NotFound
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.support.postgres_server import Database
from tests.support.tenants import (
    BY,
    GRACE,
    TENANT,
    add_tenant,
    announce,
    check_seats,
    customer,
    ingest,
    rows,
    seats_taken,
    sell,
)


def said(answers: list[BulkAnswer]) -> dict[str, str]:
    """Device id -> its status now, or why it was left alone."""
    return {
        answer.device_id: answer.why_not or ("" if answer.device is None else answer.device.status.value)
        for answer in answers
    }


async def test_each_device_is_answered_and_what_could_not_be_is_named(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        for name in ("a", "b", "c", "gone"):
            await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
        await changes.revoke(connection, TENANT, "c", BY)
        await changes.delete(connection, TENANT, "gone", BY, keep_history=True)
        answers = await change_many(
            connection, TENANT, ["c", "b", "a", "b", "gone", "x"], Event.DEACTIVATE, BY, grace=GRACE
        )
        assert said(answers) == {
            "a": "INACTIVE",
            "b": "INACTIVE",
            "c": "It is REVOKED.",
            "gone": "There is no such device.",
            "x": "There is no such device.",
        }
        assert await seats_taken(connection) == [0]
        audit = "SELECT object_id FROM audit_log WHERE action = 'device.deactivate' ORDER BY id"
        assert await rows(connection, audit) == [("a",), ("b",)]
        check_seats(database)


async def test_as_many_are_approved_as_there_are_seats(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection, strategy="approve")
        sold = await sell(connection, 2)
        await announce(connection, "a", "b", "c")
        answers = await change_many(connection, TENANT, ["a", "b", "c"], Event.APPROVE, BY, grace=GRACE)
        full = f"All 2 seats of {sold.subscription_id} are in use."
        assert said(answers) == {"a": "ACTIVE", "b": "ACTIVE", "c": full}
        assert said(await change_many(connection, TENANT, ["a", "c"], Event.REJECT, BY, grace=GRACE)) == {
            "a": "It is ACTIVE.",
            "c": "REVOKED",
        }
        check_seats(database)


async def test_devices_move_together_and_those_that_are_there_stay(database: Database) -> None:
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 5)
        trial = (await sell(connection, 2, SubscriptionType.TRIAL)).subscription_id
        for name in ("a", "b", "c"):
            await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
        await changes.move(connection, TENANT, "a", trial, BY, grace=GRACE)
        answers = await change_many(connection, TENANT, ["a", "b", "c"], Event.MOVE, BY, trial, grace=GRACE)
        assert [answer.device and answer.device.subscription_id for answer in answers] == [trial, trial, None]
        assert answers[2].why_not == f"All 2 seats of {trial} are in use."
        check_seats(database)
        with pytest.raises(NotFound):
            await change_many(connection, TENANT, ["c"], Event.MOVE, BY, "SUB-none", grace=GRACE)
        with pytest.raises(Invalid):
            await change_many(connection, TENANT, ["c"], Event.MOVE, BY, grace=GRACE)


@pytest.mark.parametrize("devices", [[], [str(number) for number in range(bulk.MAX_DEVICES + 1)]])
async def test_none_and_too_many_are_refused(database: Database, devices: list[str]) -> None:
    async with ingest(database) as connection:
        with pytest.raises(Invalid) as refused:
            await change_many(connection, TENANT, devices, Event.DEACTIVATE, BY, grace=GRACE)
        assert refused.value.field == "devices"
        with pytest.raises(Invalid):
            await change_many(connection, TENANT, ["a"], Event.DELETE, BY, grace=GRACE)


async def test_another_tenants_devices_are_not_there(database: Database) -> None:
    async with ingest(database) as connection:
        for tenant in (TENANT, "rival"):
            await add_tenant(connection, tenant)
            await sell(connection, 2, tenant_id=tenant)
        await changes.create(connection, "rival", NewDevice("a"), BY, grace=GRACE)
    async with customer(database, TENANT) as web:
        assert said(await change_many(web, TENANT, ["a"], Event.DEACTIVATE, BY, grace=GRACE)) == {
            "a": "There is no such device."
        }
        with pytest.raises(NotFound):
            await change_many(web, "rival", ["a"], Event.DEACTIVATE, BY, grace=GRACE)
    async with await connect(database.conninfo()) as outside:
        assert await rows(outside, "SELECT status FROM device_registry") == [(DeviceStatus.ACTIVE,)]


async def test_many_people_at_once_change_each_device_once(database: Database) -> None:
    names = [f"d{number:02}" for number in range(40)]
    async with ingest(database) as connection:
        await add_tenant(connection)
        await sell(connection, 40)
        for name in names:
            await changes.create(connection, TENANT, NewDevice(name), BY, grace=GRACE)
    changed: list[str] = []

    async def deactivate(first: int) -> None:
        async with ingest(database) as connection:
            chosen = names[first : first + 20]
            answers = await change_many(connection, TENANT, reversed(chosen), Event.DEACTIVATE, BY, grace=GRACE)
            changed.extend(answer.device_id for answer in answers if answer.why_not is None)

    async with trio.open_nursery() as nursery:
        for caller in range(12):
            nursery.start_soon(deactivate, caller * 5 % 21)
    assert sorted(changed) == sorted(set(changed)) == names
    async with ingest(database) as connection:
        audit = "SELECT count(*), count(DISTINCT object_id) FROM audit_log WHERE action = 'device.deactivate'"
        assert await rows(connection, audit) == [(40, 40)]
        assert await seats_taken(connection) == [0]
    check_seats(database)
