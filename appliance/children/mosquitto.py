"""The embedded Mosquitto, with the device listener opened last.

A broker without a subscriber acknowledges what devices send and drops it. So devices are let in only when the
appliance's durable session and its subscription are known to be in the broker's store:

    private ---- open_devices() ----> open       the broker stops (it saves), the store is looked into, it starts again
    open ------ close_devices() ----> private    the session turned out to be gone
    open ------ death --------------> private    what was saved last is unknown
    open ------ clean stop ---------> open       the next start finds the very store that was saved

The owner of the session calls :meth:`Mosquitto.open_devices` after every subscription; when devices are let in
already, that does nothing.
"""

import contextlib
import mmap
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.children import mosquitto_files as files
from appliance.children.account import Account, child_account
from appliance.children.data_dir import DataDir
from appliance.children.files import bring_up_to_date, write_atomically
from appliance.children.keeper import ChildStatus, Keeper, Patience, Readiness
from appliance.children.leftovers import stop_leftovers
from appliance.children.polling import until
from appliance.children.ports import free_port, is_free, port_owner
from appliance.children.process import Child, Command
from appliance.children.programs import MosquittoProgram, find_mosquitto
from appliance.clock import Clock, SystemClock
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

USER = "mosquitto"
PACKAGE = "mosquitto"
PROGRAMS = frozenset({"mosquitto"})
POLL_SECONDS = 0.005
STOP_SECONDS = 10.0
OPEN_FILES = 20_000
RECEIPT = "broker-saved.json"
PASSWORD_BYTES = 16

# Lines that name client ids or come for each connection or each save: they go to the one who reads the door, not to
# the log.
UNLOGGED = re.compile(r"^(New connection|New client|Client |Saving in-memory database)")
BROKEN_STORE = re.compile(r"Couldn't open database|Unable to restore persistent database|Corrupt persistent database")


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    """Where and as whom the appliance connects. The password is new at each start of the process."""

    socket: Path
    username: str
    password: str = field(repr=False)


class Receipt(msgspec.Struct, frozen=True):
    """What the store looked like when a broker with open device listeners was stopped cleanly."""

    size: int
    mtime_ns: int


class Mosquitto:
    """A service: ``await nursery.start(mosquitto.run)``, connect to :attr:`endpoint`, subscribe, let devices in."""

    def __init__(
        self,
        data_dir: DataDir,
        *,
        host: str,
        port: int,
        subscription: str,
        users: Sequence[files.DeviceUser] = (),
        limits: files.BrokerLimits | None = None,
        clock: Clock | None = None,
        patience: Patience | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """``host:port`` is for devices, port 0 picks a free one. ``subscription`` is the topic filter that the
        session of ``data_dir.instance.mqtt_client_id`` must hold before devices are let in. ``on_line`` gets every
        line the broker prints, our own client id blackened."""
        self._program = _MosquittoProgram(
            data_dir, files.DeviceListener(host, port), subscription, users, limits or files.BrokerLimits(), on_line
        )
        self._keeper = Keeper(self._program, clock or SystemClock(), patience or Patience())
        self._changing = trio.Lock()

    @property
    def endpoint(self) -> BrokerEndpoint:
        """The private listener: a Unix socket that only we and the broker's user can reach."""
        return self._program.endpoint

    @property
    def devices(self) -> files.DeviceListener:
        """Where devices connect; the port is the real one once :meth:`run` has started."""
        return self._program.devices

    @property
    def devices_open(self) -> bool:
        """Whether devices are let in now."""
        return self._keeper.ready.is_set() and self._program.devices_open

    @property
    def stores_lost(self) -> int:
        """How often since the start of the process the broker's state was found damaged, replaced or gone."""
        return self._program.stores_lost

    @property
    def program(self) -> MosquittoProgram:
        """The broker in use, once :meth:`run` has started."""
        if self._program.program is None:
            raise RuntimeError("Mosquitto was not started")
        return self._program.program

    @property
    def status(self) -> ChildStatus:
        """How the broker is just now."""
        return self._keeper.status

    @property
    def ready(self) -> Readiness:
        """Set while the private listener answers."""
        return self._keeper.ready

    async def run(self, *, task_status: trio.TaskStatus[BrokerEndpoint] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker until cancelled; ``started()`` with the endpoint once its private listener answers.

        Raises :class:`ApplianceError` when it is not installed, the port is taken, or it dies too often.
        """
        await self._program.settle()
        await self._keeper.run(lambda: task_status.started(self.endpoint))

    async def open_devices(self) -> bool:
        """Let devices in, after the session has subscribed. True if they are.

        Unless they are already, the broker restarts, which ends every connection: the caller's client comes back to
        its session. False means that the broker's store does not hold the subscription (the broker died in
        between): connect, subscribe and call again.
        """
        async with self._changing:
            if not self.devices_open:
                self._program.devices_wanted = True
                await self._keeper.restart()
            return self._program.devices_open

    async def close_devices(self) -> None:
        """Shut devices out: the session is gone. Ends every connection; connect, subscribe, open again."""
        async with self._changing:
            if self.devices_open:
                self._program.lose_state("the broker does not know our session")
                self._program.devices_wanted = False
                await self._keeper.restart()

    def set_users(self, users: Sequence[files.DeviceUser]) -> None:
        """Replace the device users; a running broker drops connections of users that are gone or changed."""
        self._program.set_users(users)
        self.reload()

    def reload(self) -> None:
        """Have the broker read its passwords and ACL again (SIGHUP): now, or as soon as it is up."""
        if not self._signal(signal.SIGHUP):
            self._program.reload_due = True

    def save(self) -> None:
        """Have the broker write its store now (SIGUSR1); one that is down has written it."""
        self._signal(signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> bool:
        """Before it is ready its handlers are not set, and the signal would end it."""
        if self._keeper.child is None or not self._keeper.ready.is_set():
            return False
        self._keeper.child.signal(number)
        return True


class _MosquittoProgram:
    """What the keeper must know of Mosquitto."""

    name = "Mosquitto"

    def __init__(
        self,
        data_dir: DataDir,
        devices: files.DeviceListener,
        subscription: str,
        users: Sequence[files.DeviceUser],
        limits: files.BrokerLimits,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self.program: MosquittoProgram | None = None
        self.devices = devices
        self.devices_open = False
        self.devices_wanted = False
        self.stores_lost = 0
        self.reload_due = False
        self._state_is_lost = False
        self._folder = data_dir.path / "mosquitto"
        self._data_dir = data_dir
        self._client_id = data_dir.instance.mqtt_client_id
        self._subscription = subscription
        self._users = tuple(users)
        self._limits = limits
        self._on_line = on_line
        self._store_broken = False
        self._account: Account | None = None
        self.endpoint = BrokerEndpoint(
            data_dir.sockets / "mosquitto" / files.SOCKET, files.PRIVATE_USER, secrets.token_urlsafe(PASSWORD_BYTES)
        )
        self._private = files.DeviceUser(files.PRIVATE_USER, files.hash_password(self.endpoint.password))

    async def settle(self) -> None:
        """Find the program and the port before anything starts, so that a taken one is told at once."""
        self.program = await find_mosquitto()
        await stop_leftovers(self._folder / files.CONFIGURATION, PROGRAMS, polite=signal.SIGTERM)
        if self.devices.port == 0:
            self.devices = files.DeviceListener(self.devices.host, free_port(self.devices.host))
        self._require_port()
        self.devices_wanted = self._store_is_as_saved()

    async def prepare(self) -> Command:
        self._account = child_account(USER, package=PACKAGE)
        if self._account is not None:
            await self._account.require_access(self._data_dir.path)
        await stop_leftovers(self._folder / files.CONFIGURATION, PROGRAMS, polite=signal.SIGTERM)
        self.program = await find_mosquitto()
        self._data_dir.folder("mosquitto", self._account)
        self._data_dir.socket_folder("mosquitto", self._account)
        self._set_broken_store_aside()
        self.devices_open = self.devices_wanted and self._store_holds_subscription(self.program)
        if self.devices_open:
            self._require_port()
            self._state_is_lost = False
        self._receipt.unlink(missing_ok=True)
        self.reload_due = False
        self._render(self.program)
        with contextlib.suppress(FileNotFoundError):
            self.endpoint.socket.unlink()
        return Command(
            name="mosquitto",
            argv=(str(self.program.path), "-c", str(self._folder / files.CONFIGURATION)),
            account=self._account,
            stop_signal=signal.SIGTERM,
            stop_seconds=STOP_SECONDS,
            open_files=OPEN_FILES,
        )

    async def until_ready(self, child: Child) -> None:
        await until(self._answers, period=POLL_SECONDS)
        if self.reload_due:  # the files changed after the broker may have read them
            child.signal(signal.SIGHUP)

    def heard(self, line: str) -> str | None:
        line = line.replace(self._client_id, "(the appliance)")
        if self._on_line is not None:
            self._on_line(line)
        if BROKEN_STORE.search(line):
            self._store_broken = True
        if UNLOGGED.match(line):
            return None
        if line.startswith("Error"):
            log.error("mosquitto", line=line)
        elif line.startswith("Warning"):
            log.warning("mosquitto", line=line)
        else:
            log.info("mosquitto", line=line)
        return line

    async def ended(self, child: Child) -> None:
        """After a clean stop with devices let in, remember the store; after anything else, trust nothing."""
        clean = child.returncode == 0
        if not clean:
            self.devices_wanted = False
        elif self.devices_open and (seen := self._look_at_store()) is not None:
            try:
                write_atomically(self._receipt, msgspec.json.encode(seen))
            except OSError as error:  # a full disk: the next start goes the long way
                log.warning("the broker's state cannot be noted", error=str(error))

    def lose_state(self, why: str) -> None:
        """What the broker had queued is gone: say so once, until devices are let in again."""
        if not self._state_is_lost:
            self._state_is_lost = True
            self.stores_lost += 1
            log.error("broker state lost", why=why)

    def set_users(self, users: Sequence[files.DeviceUser]) -> None:
        """Remember the users and write the password file."""
        text = files.password_file((self._private, *users))
        self._users = tuple(users)
        if self._folder.exists():
            write_atomically(self._folder / files.PASSWORDS, text.encode(), owner=self._account)

    @property
    def _receipt(self) -> Path:
        return self._data_dir.path / RECEIPT

    @property
    def _store(self) -> Path:
        sqlite = self.program is not None and self.program.persist_sqlite is not None
        return self._folder / (files.SQLITE_STORE if sqlite else files.STORE)

    def _render(self, program: MosquittoProgram) -> None:
        devices = self.devices if self.devices_open else None
        sockets = self.endpoint.socket.parent
        texts = {
            files.CONFIGURATION: files.configuration(self._folder, sockets, program, self._limits, devices),
            files.ACL: files.acl_file(),
            files.PASSWORDS: files.password_file((self._private, *self._users)),
        }
        for name, text in texts.items():
            bring_up_to_date(self._folder / name, text.encode(), owner=self._account)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.endpoint.socket))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                return False
        return True

    def _require_port(self) -> None:
        host, port = self.devices.host, self.devices.port
        try:
            if is_free(host, port):
                return
        except OSError as error:
            raise ApplianceError(
                f"Devices cannot be served on {host} port {port} ({error.strerror}): "
                "set another broker.host or broker.port"
            ) from None
        owner = port_owner(port)
        mend = "stop it, or set another broker.port"
        if owner.user == USER or "/mosquitto" in (owner.command or ""):
            mend = "if it is Debian's service, `systemctl disable --now mosquitto`, or set another broker.port"
        raise ApplianceError(f"Port {port} is taken by {owner.describe()}: {mend}")

    def _look_at_store(self) -> Receipt | None:
        """Size and time of the store, or None if there is none."""
        try:
            status = self._store.stat()
        except OSError:
            return None
        return Receipt(status.st_size, status.st_mtime_ns)

    def _store_is_as_saved(self) -> bool:
        try:
            receipt = msgspec.json.decode(self._receipt.read_bytes(), type=Receipt)
        except (FileNotFoundError, msgspec.MsgspecError):
            return False
        if receipt == self._look_at_store():
            return True
        self.lose_state("the store is not the one that was saved")
        return False

    def _store_holds_subscription(self, program: MosquittoProgram) -> bool:
        """Whether the store that the coming broker reads has our session with its subscription.

        Mosquitto writes a subscription as client id and topic filter in one, after all messages, so finding that also
        shows that the file was not cut off before. With persist-sqlite every change is on the disk before it is
        acknowledged: the caller's word is enough.
        """
        if program.persist_sqlite is not None:
            return True
        wanted = self._client_id.encode() + self._subscription.encode()
        try:
            with self._store.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as store:
                held = store.find(wanted) >= 0
        except (OSError, ValueError):  # not there; empty
            held = False
        if not held:
            log.warning("the broker's store does not hold our subscription: devices stay shut out")
        return held

    def _set_broken_store_aside(self) -> None:
        if not self._store_broken:
            return
        self._store_broken = False
        aside = self._store.with_name(f"{self._store.name}.broken-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        with contextlib.suppress(FileNotFoundError):
            self._store.rename(aside)
            self.lose_state(f"the store was damaged and is kept as {aside}")
