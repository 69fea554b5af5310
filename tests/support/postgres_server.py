"""A real Postgres for tests: one server a session, one freshly cloned database a test, all of it thrown away."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg import sql

from appliance.clock import SystemClock
from appliance.db import bootstrap, migrations, roles
from appliance.db.endpoint import Endpoint
from appliance.db.trio_psycopg import connect
from tests.support.server_process import ServerProcess, signal_process

USER = "postgres"
SUPERUSER = "postgres"
PORT = 5432
START_SECONDS = 60.0
TEMPLATE = "edge_template"

# Nothing here outlives the session, so nothing is ever synced. What was committed outlives kill -9 all the same:
# it is in the page cache by then.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # in its own folder: kill -9 would leave the others behind for good
    "max_wal_size": "512MB",
    "autovacuum": "off",  # no database lives for long enough
    "jit": "off",  # as the embedded one
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
}

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 << 30


def ground() -> Path:
    """Memory where there is plenty of it: cloning a database, 300 small files, takes a tenth of the time there.

    What a killed process has written stays there as it does on a disk.
    """
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        return MEMORY
    return Path("/tmp")


def programs() -> Path:
    """The folder with ``postgres`` and ``initdb``: Debian keeps them off PATH, one folder a version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert versions, "no Postgres found: apt-get install postgresql"
    return versions[-1].parent


class PostgresServer(ServerProcess):
    """One Postgres in a folder of its own, on a Unix socket only; trusts whoever reaches that socket.

    Data stays over ``stop``/``kill`` and ``start``, and so does its log. ``stop`` is the fast one: clients are cut off,
    all is written.
    """

    title = "Postgres"
    user = USER
    stop_signal = signal.SIGINT
    stop_seconds = 30.0
    close_signal = signal.SIGQUIT

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__("edge-pg-", ground())
        self.socket_dir = self.directory
        self.port = PORT
        self._settings = {**SETTINGS, **(settings or {})}
        self._data = self.directory / "data"
        self._programs = programs()
        self._initialised = False
        self._own(self.directory)

    def conninfo(self, dbname: str = "postgres", user: str = SUPERUSER) -> str:
        """A libpq connection string, for the superuser unless told."""
        return f"host={self.socket_dir} port={self.port} dbname={dbname} user={user}"

    def start(self) -> None:
        """Start (after initdb, the first time) and return once connections are accepted."""
        if not self._initialised:
            self._initdb()
            self._initialised = True
        deadline = time.monotonic() + START_SECONDS
        # After kill -9 the shared memory of the dead one may be in use for a moment: then it ends at once, try again.
        while time.monotonic() < deadline:
            self._launch()
            if self._becomes(self._accepts, deadline):
                return
            self.kill()
            time.sleep(self.poll_seconds)
        raise AssertionError(f"Postgres did not start:\n{self.log()}")

    def start_on_data(self) -> None:
        """Start on a cluster that was put into ``directory / "data"``."""
        self._initialised = True
        self.start()

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its children: a power cut."""
        process, self._process = self._process, None
        if process is None:
            return
        children = _children(process.pid)
        process.kill()
        for pid in children:
            signal_process(pid, signal.SIGKILL)
        process.wait()
        while any(_alive(pid) for pid in children):
            time.sleep(self.poll_seconds)

    def kill_backend(self, pid: int) -> None:
        """SIGKILL to one backend: Postgres then ends all the others and recovers, still the same postmaster."""
        assert pid in _children(self.pid), f"{pid} is not a backend of this server"
        signal_process(pid, signal.SIGKILL)

    def _initdb(self) -> None:
        arguments = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--username={SUPERUSER}"]
        root = os.geteuid() == 0
        made = subprocess.run(
            [str(self._programs / "initdb"), *arguments, "-D", str(self._data)],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            user=USER if root else None,
            group=USER if root else None,
            extra_groups=[] if root else None,
        )
        assert made.returncode == 0, f"initdb failed:\n{made.stdout}{made.stderr}"

    def _launch(self) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        folders = ["-D", str(self._data), f"--unix_socket_directories={self.socket_dir}"]
        with (self.directory / self.log_name).open("ab") as log:
            self._spawn([str(self._programs / "postgres"), *folders, *settings], log)

    def _accepts(self) -> bool:
        try:
            psycopg.connect(self.conninfo(), connect_timeout=20).close()
        except psycopg.OperationalError:
            return False
        return True

    def _pids(self, first: int) -> Sequence[int]:
        return [first, *_children(first)]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _alive(pid: int) -> bool:
    """Not even a zombie's sockets are open."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server, as a test sees it."""

    server: PostgresServer
    name: str

    def conninfo(self, role: str | None = None) -> str:
        """A libpq connection string: as ``role``, or as the superuser."""
        return self.server.conninfo(self.name, role or SUPERUSER)

    @property
    def url(self) -> str:
        """As ``database.url`` names it, for the superuser."""
        return f"postgresql://{SUPERUSER}@/{self.name}?host={self.server.socket_dir}"

    @property
    def endpoint(self) -> Endpoint:
        """The same as the product knows it."""
        return Endpoint.local(self.server.socket_dir, self.server.port, self.name)


_numbers = itertools.count(1)
_to_drop: list[Database] = []


def create_database(server: PostgresServer, *, template: str = "template0", owner: str = SUPERUSER) -> Database:
    """A new database, a copy of ``template``; drop it with ``drop_database``.

    Files are copied: to copy by blocks writes each into the log too, and leaves out the file that spares the first
    session of a database 10 ms.
    """
    name = f"edge_{next(_numbers)}"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        for database in [each for each in _to_drop if each.server is server]:
            _to_drop.remove(database)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database.name)))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(owner)
            )
        )
    return Database(server, name)


def drop_database(database: Database) -> None:
    """Drop it, whoever is connected, as soon as the next one is made on its server; the last one goes with the server.

    By then its sessions have ended. Dropped at once, while one is still about to end, Postgres waits for 100 ms.
    """
    _to_drop.append(database)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The Postgres of the test session. It is shared: never stop it (start a private one for that)."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def database_template(postgres_server: PostgresServer) -> str:
    """The name of a database that the product's own migrations made, once a session."""
    trio.run(make_template, postgres_server)
    return TEMPLATE


async def make_template(server: PostgresServer) -> None:
    """Make the database TEMPLATE by the product's own migrations."""
    await bootstrap.prepare(server.conninfo(), TEMPLATE)
    endpoint = Endpoint.local(server.socket_dir, server.port, TEMPLATE)
    async with await connect(endpoint.conninfo(roles.OWNER)) as connection:
        await migrations.migrate(connection, clock=SystemClock())


@pytest.fixture
def database(postgres_server: PostgresServer, database_template: str) -> Iterator[Database]:
    """A database of this test alone, with every migration applied."""
    made = create_database(postgres_server, template=database_template, owner=roles.OWNER)
    yield made
    drop_database(made)
