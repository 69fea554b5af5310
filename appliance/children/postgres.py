"""The embedded Postgres: created on the first start, reachable by Unix socket only, kept running until cancelled."""

import shutil
import signal
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from appliance.children import postgres_files
from appliance.children.account import Account, child_account, own_name
from appliance.children.data_dir import DataDir
from appliance.children.files import bring_up_to_date, make_folder, sync_folder, write_atomically
from appliance.children.keeper import SHOWN_LINES, ChildStatus, Keeper, Patience, Readiness
from appliance.children.leftovers import stop_leftovers
from appliance.children.other_major import room_for_both
from appliance.children.polling import until
from appliance.children.postgres_log import make_segments, segment_size
from appliance.children.process import Child, Command, spare_when_memory_ends, spawn
from appliance.children.programs import OtherMajorError, PostgresPrograms, find_postgres
from appliance.clock import Clock
from appliance.disk.reserve import measure
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

USER = "postgres"
PACKAGE = "postgresql"
PROGRAMS = frozenset({"postgres", "initdb"})
POLL_SECONDS = 0.01
STOP_SECONDS = 10.0  # "fast" stops clients and writes a checkpoint; killed, it recovers at the next start
ORPHAN_SECONDS = 2.0  # for backends of our own dead postmaster, which can do nothing useful any more
RECOVERY_SECONDS = 600.0  # after a power cut it replays up to max_wal_size
STOP_ANSWER = "received fast shutdown request"  # of the postmaster, before anything else
OUR_STOP = "terminating connection due to administrator command"  # of each session, when we stop the server
SSL_REQUEST = struct.pack(">II", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"
STATUS_LINE = 7  # of postmaster.pid, counted from 0: what pg_ctl -w waits for


@dataclass(frozen=True, slots=True)
class PostgresEndpoint:
    """The server's address: libpq's ``host`` and ``port`` of a Unix socket."""

    socket_dir: Path
    port: int = postgres_files.PORT


class Postgres:
    """A service: ``await nursery.start(postgres.run)``, then connect to :attr:`endpoint`."""

    def __init__(
        self,
        data_dir: DataDir,
        *,
        roles: Sequence[str],
        memory: postgres_files.Memory | None = None,
        clock: Clock,
        patience: Patience | None = None,
        on_line: Callable[[str], None] | None = None,
        disk_full: Callable[[], str | None] = lambda: None,
        max_bytes: int = 0,
    ) -> None:
        """``roles`` are the login roles that our own user may assume besides the superuser ``postgres``.

        ``disk_full`` says why the disk of ``data_dir`` is full, None while it is not. ``max_bytes``: what ``data_dir``
        may take in all, 0 for as much as its disk has; the log has its part of that.
        """
        patience = patience or Patience(start=RECOVERY_SECONDS)
        memory = memory or postgres_files.Memory()
        self._program = _PostgresProgram(data_dir, tuple(roles), memory, on_line, disk_full, max_bytes)
        self._keeper = Keeper(self._program, clock, patience, disk_full)

    @property
    def endpoint(self) -> PostgresEndpoint:
        """The address to connect to, once :meth:`run` has started."""
        return PostgresEndpoint(self._program.sockets)

    @property
    def programs(self) -> PostgresPrograms:
        """The folder of binaries and the version in use, once :meth:`run` has started: for psql and pg_dump."""
        if self._program.programs is None:
            raise RuntimeError("Postgres was not started")
        return self._program.programs

    @property
    def status(self) -> ChildStatus:
        """The server's current status."""
        return self._keeper.status

    @property
    def ready(self) -> Readiness:
        """Set while the server accepts connections."""
        return self._keeper.ready

    @property
    def silent(self) -> bool:
        """Return whether it runs and does not answer, as a frozen process does."""
        return self._keeper.silent

    async def run(self, *, task_status: trio.TaskStatus[PostgresEndpoint] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the server until cancelled; ``started()`` with the endpoint once it accepts connections.

        Raises :class:`ApplianceError` when it is not installed, its data cannot be used, or it dies too often.
        """
        await self._keeper.run(lambda: task_status.started(self.endpoint))


class _PostgresProgram:
    """What the keeper needs to know of Postgres."""

    name = "Postgres"

    def __init__(
        self,
        data_dir: DataDir,
        roles: Sequence[str],
        memory: postgres_files.Memory,
        on_line: Callable[[str], None] | None,
        disk_full: Callable[[], str | None],
        max_bytes: int,
    ) -> None:
        self._disk_full = disk_full
        self._max_bytes = max_bytes
        self.programs: PostgresPrograms | None = None
        self._data_dir = data_dir
        self._roles = roles
        self._memory = memory
        self._on_line = on_line
        self._leftovers_seconds = STOP_SECONDS
        self._cluster = data_dir.path / "postgres"
        self._unfinished = data_dir.path / "postgres.new"

    @property
    def sockets(self) -> Path:
        """The folder of the server's socket."""
        return self._data_dir.sockets / "postgres"

    @property
    def _socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{postgres_files.PORT}"

    async def prepare(self) -> Command:
        account = child_account(USER, package=PACKAGE)
        if account is not None:
            await account.require_access(self._data_dir.path)
        for folder in (self._unfinished, self._cluster):
            await stop_leftovers(folder, PROGRAMS, polite=signal.SIGINT, seconds=self._leftovers_seconds)
        self._leftovers_seconds = ORPHAN_SECONDS
        self.programs = await self._find()
        if not (self._cluster / "PG_VERSION").exists():
            await self._make_cluster(self.programs, account)
        self._render(account)
        if self._log_sizes().ahead and self._disk_full() is None:
            make_segments(self._cluster, self._log_sizes(), account)
        # No postmaster lives on these data, whatever process has the number in this file by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        settings = (part for name, value in postgres_files.DURABLE for part in ("-c", f"{name}={value}"))
        return Command(
            name="postgres",
            argv=(str(self.programs.folder / "postgres"), "-D", str(self._cluster), *settings),
            account=account,
            stop_signal=signal.SIGINT,
            stop_seconds=STOP_SECONDS,
            stop_answer=STOP_ANSWER,
        )

    async def until_ready(self, child: Child) -> None:
        spare_when_memory_ends(child.pid)
        await until(lambda: self._is_ready(child.pid), period=POLL_SECONDS)

    async def answer(self, child: Child) -> None:  # noqa: ARG002 - the keeper's signature
        """Ask whether it speaks TLS (SSLRequest of its protocol): the postmaster makes a process for the answer."""
        async with await trio.open_unix_socket(self._socket) as stream:
            await stream.send_all(SSL_REQUEST)
            await stream.receive_some(1)

    def heard(self, line: str) -> str | None:
        level, _, text = line.partition(":")
        text = text.strip()
        if level in {"FATAL", "PANIC"} and text != OUR_STOP:
            log.error("postgres", line=text)
        elif level in {"ERROR", "WARNING"}:
            log.warning("postgres", line=text)
        else:
            log.info("postgres", line=text or line)
        if self._on_line is not None:
            self._on_line(line)
        return line

    async def ended(self, child: Child) -> None:
        """Record nothing: the data folder is complete by itself."""

    async def _find(self) -> PostgresPrograms:
        """Return the programs for the data that are there. Raises OtherMajorError with the room on the disk."""
        try:
            return await find_postgres(self._data_version())
        except OtherMajorError as error:
            if not error.installed:
                raise
            room = await trio.to_thread.run_sync(room_for_both, self._cluster)
            raise OtherMajorError(error.major, error.installed, room) from None

    def _data_version(self) -> int | None:
        path = self._cluster / "PG_VERSION"
        try:
            return int(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise ApplianceError(
                f"{path} is damaged: restore a backup with `appliance restore FILE --replace`"
            ) from None

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > STATUS_LINE and lines[0].strip() == str(pid) and lines[STATUS_LINE].strip() == "ready"

    def _render(self, account: Account | None) -> None:
        users = [own_name(), account.name if account else own_name()]
        self._data_dir.socket_folder("postgres", account)
        files = {
            postgres_files.INCLUDE: postgres_files.configuration(self.sockets, self._memory, self._log_sizes()),
            "pg_hba.conf": postgres_files.host_based_authentication(),
            "pg_ident.conf": postgres_files.identity_map(users, self._roles),
        }
        for name, text in files.items():
            bring_up_to_date(self._cluster / name, text.encode(), owner=account)

    def _log_sizes(self) -> postgres_files.LogSizes:
        total = measure(self._data_dir.path).total
        return postgres_files.log_sizes(min(total, self._max_bytes or total), segment_size(self._cluster))

    async def _make_cluster(self, programs: PostgresPrograms, account: Account | None) -> None:
        """Run initdb in a folder that is renamed when complete, so that a killed initdb leaves no partial cluster."""
        self._make_room()
        make_folder(self._unfinished, 0o700, owner=account)
        log.info("making a new database cluster", folder=str(self._cluster), version=programs.major)
        await self._initdb(programs, account)
        main = self._unfinished / "postgresql.conf"
        text = main.read_text() + f"\ninclude {postgres_files.quoted(postgres_files.INCLUDE)}\n"
        write_atomically(main, text.encode(), owner=account)
        self._unfinished.rename(self._cluster)
        sync_folder(self._data_dir.path)

    def _make_room(self) -> None:
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        try:
            self._cluster.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            raise ApplianceError(
                f"{self._cluster} holds something that is not a Postgres cluster: move it away, or restore a backup"
            ) from None

    async def _initdb(self, programs: PostgresPrograms, account: Account | None) -> None:
        segment = f"--wal-segsize={self._log_sizes().segment}"
        options = ("-U", postgres_files.SUPERUSER, "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", segment)
        authentication = ("--auth-local=peer", "--auth-host=reject")
        command = Command(
            name="initdb",
            argv=(str(programs.folder / "initdb"), "-D", str(self._unfinished), *options, *authentication),
            account=account,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGKILL,
        )
        lines: list[str] = []
        async with trio.open_nursery() as nursery:
            child = spawn(command, lines.append)
            nursery.start_soon(child.reap)
            try:
                await child.ended.wait()
            finally:
                await child.stop()
        if child.returncode != 0:
            words = "".join(f"\n  {line}" for line in lines[-SHOWN_LINES:])
            raise ApplianceError(f"initdb failed ({child.describe_end()}):{words}")
