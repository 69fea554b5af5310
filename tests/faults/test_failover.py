"""An external Postgres that fails over: the address leads to a standby, which can only be read until it is promoted.

The primary waits for the standby with each commit, so that what it has acknowledged is there when it dies.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trio

from appliance.db.roles import OWNER
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.postgres_server import (
    SUPERUSER,
    TEMPLATE,
    USER,
    PostgresServer,
    create_database,
    ground,
    make_template,
    programs,
)
from tests.support.publisher import TENANT, Publisher, client, stored

MESSAGES = 400


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary with its standby, and the folder of sockets that leads to whichever is to be asked."""

    primary: PostgresServer
    standby: PostgresServer
    address: Path
    database: str

    def lead_to(self, server: PostgresServer) -> None:
        """Have the address lead to ``server``, at once."""
        following = self.address.with_name("following")
        following.symlink_to(server.socket_dir)
        following.rename(self.address)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(PostgresServer())
        trio.run(make_template, primary)
        name = create_database(primary, template=TEMPLATE, owner=OWNER).name
        standby = PostgresServer()
        stack.callback(standby.close)
        _copy(primary, standby)
        standby.start_on_data()
        with psycopg.connect(primary.conninfo(), autocommit=True) as superuser:
            superuser.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            superuser.execute("SELECT pg_reload_conf()")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-pair-", dir=ground())))
        folder.chmod(0o755)
        both = Pair(primary, standby, folder / "postgres", name)
        both.lead_to(primary)
        yield both


def _copy(primary: PostgresServer, standby: PostgresServer) -> None:
    """Copy the primary as its standby."""
    source = f"host={primary.socket_dir} port={primary.port} user={SUPERUSER}"
    account = USER if os.geteuid() == 0 else None
    subprocess.run(
        [
            str(programs() / "pg_basebackup"),
            f"--pgdata={standby.directory / 'data'}",
            f"--dbname={source}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ],
        check=True,
        timeout=60,
        cwd=standby.directory,
        user=account,
        group=account,
        extra_groups=None if account is None else [],
    )


async def test_what_comes_while_it_can_only_be_read_is_stored_once_it_is_promoted(pair: Pair) -> None:
    url = f"postgresql://postgres@/{pair.database}?host={pair.address}"
    appliance = ApplianceProcess({"APPLIANCE_DATABASE_URL": url, "APPLIANCE_DATABASE_POOL_SIZE": "4"})
    publisher = Publisher(TENANT, (int(time.time()) - 3600) * 1000)
    try:
        await trio.to_thread.run_sync(appliance.start)
        appliance.tenant(TENANT)
        async with client(appliance, "sender") as connection, trio.open_nursery() as nursery:
            nursery.start_soon(publisher.send, connection, MESSAGES, 10, 0.02)
            with trio.fail_after(60):
                while not stored(appliance):
                    await trio.sleep(0.02)
            pair.primary.kill()
            pair.lead_to(pair.standby)
            with trio.fail_after(60):
                while b"standby" not in await trio.to_thread.run_sync(appliance.get, "/readyz"):
                    await trio.sleep(0.05)
        with psycopg.connect(pair.standby.conninfo(pair.database), autocommit=True) as superuser:
            assert superuser.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
            [(before,)] = superuser.execute("SELECT count(*) FROM telemetry").fetchall()
            assert before < MESSAGES
            superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
            assert superuser.execute("SELECT pg_promote()").fetchone() == (True,)
        with trio.fail_after(60):
            while len(stored(appliance)) < MESSAGES:
                await trio.sleep(0.05)
        assert set(stored(appliance)) == publisher.sent
        assert appliance.query("SELECT count(*) FROM quarantine_events") == [(0,)]
        look(appliance.conninfo())
        assert "Traceback" not in appliance.log.read_text()
    finally:
        appliance.close()
