"""Lock keys are the same everywhere, and taken in one order."""

import subprocess
import sys
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from appliance.db.locks import MAX_LOCKS, device_lock_key, lock_key, lock_until_commit
from appliance.db.trio_psycopg import Connection, connect
from tests.db.conftest import Observer
from tests.support.postgres_server import Database
from tests.support.project import ROOT

# Two versions of the program that run at once must mean the same lock.
DEVICE_KEY = 3754901186144087045
MIGRATIONS_KEY = 7999913652285934703


def test_keys_never_change() -> None:
    assert device_lock_key("acme", "pump-1") == DEVICE_KEY
    assert lock_key("migrations") == MIGRATIONS_KEY


def test_keys_are_the_same_in_another_process() -> None:
    program = "from appliance.db.locks import device_lock_key; print(device_lock_key('acme', 'pump-1'))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{DEVICE_KEY}\n".encode()}


@given(st.text(), st.text())
def test_keys_fit_postgres(tenant: str, device: str) -> None:
    assert -(2**63) <= device_lock_key(tenant, device) < 2**63


def test_parts_do_not_run_into_one_another() -> None:
    assert device_lock_key("ab", "c") != device_lock_key("a", "bc")
    assert lock_key("device", "a") != lock_key("devicea")


async def test_locks_taken_in_any_order_never_deadlock(
    connection: Connection[Any], database: Database, observer: Observer
) -> None:
    async with await connect(database.conninfo()) as other, trio.open_nursery() as nursery:

        async def both(of: Connection[Any], keys: list[int]) -> None:
            for _ in range(20):
                async with of.transaction():
                    await lock_until_commit(of, keys)

        nursery.start_soon(both, connection, list(range(200)))
        nursery.start_soon(both, other, list(range(199, -1, -1)))
    assert await observer.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_they_are_held_until_the_transaction_ends(connection: Connection[Any], observer: Observer) -> None:
    keys = [device_lock_key("acme", str(number)) for number in range(MAX_LOCKS)]
    async with connection.transaction():
        await lock_until_commit(connection, keys)
        assert await observer.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == MAX_LOCKS
    assert await observer.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_more_than_the_server_can_hold_are_refused(connection: Connection[Any]) -> None:
    with pytest.raises(ValueError, match="advisory locks"):
        await lock_until_commit(connection, range(MAX_LOCKS + 1))
