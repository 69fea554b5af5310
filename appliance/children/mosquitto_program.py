"""What the keeper needs to know of Mosquitto: preparing a start, reading its log lines, recording a clean stop."""

import contextlib
import mmap
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import structlog
import trio

from appliance.broker.accounts import PRIVATE_USER, hash_password
from appliance.children import mosquitto_files as files
from appliance.children.account import Account, child_account
from appliance.children.data_dir import DataDir
from appliance.children.files import bring_up_to_date, write_atomically
from appliance.children.leftovers import stop_leftovers
from appliance.children.mosquitto_reload import BEGINS, Reloader
from appliance.children.mosquitto_saves import Saves
from appliance.children.polling import until
from appliance.children.ports import free_port, is_free, port_owner
from appliance.children.process import Child, Command
from appliance.children.programs import MosquittoProgram, find_mosquitto
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

USER = "mosquitto"
PACKAGE = "mosquitto"
PROGRAMS = frozenset({"mosquitto"})
POLL_SECONDS = 0.005
STOP_SECONDS = 10.0
OPEN_FILES = 20_000
"""Of each listener, which takes 10,000 connections at most."""
RECEIPT = "broker-saved.json"
PASSWORD_BYTES = 16

# Lines that name client ids or come for each connection or each save: they go to the reader of broker refusals, not to
# the log.
UNLOGGED = re.compile(r"^(New connection|New client|Client |OpenSSL Error|Saving in-memory database|Reloading config)")
# A CONNECT packet (MQTT 5, 3.1) of protocol version 99, without a client id, and the line that the broker has for it.
UNKNOWN_VERSION = b"\x10\x0c\x00\x04MQTT\x63\x00\x00\x00\x00\x00"
UNKNOWN_VERSION_LINE = "Invalid protocol version 99 in CONNECT from"
BROKEN_STORE = re.compile(r"Couldn't open database|Unable to restore persistent database|Corrupt persistent database")


@dataclass(frozen=True, slots=True)
class BrokerEndpoint:
    """The appliance's own address, user and password; the password is new at each start of the process."""

    socket: Path
    username: str
    password: str = field(repr=False)


class CleanStop(msgspec.Struct, frozen=True):
    """Size and time of the store when a broker with an open device listener was stopped cleanly."""

    size: int
    mtime_ns: int


class BrokerProgram:
    """The embedded Mosquitto, across its restarts."""

    name = "Mosquitto"

    def __init__(
        self,
        data_dir: DataDir,
        devices: files.DeviceListener,
        subscription: str,
        users: files.Users,
        limits: files.BrokerLimits,
        on_line: Callable[[str], None] | None,
        *,
        debug_logging: bool = False,
        certificate: bytes | None = None,
    ) -> None:
        self.program: MosquittoProgram | None = None
        self.devices = devices
        self.devices_open = False
        self.devices_wanted = False
        self.stores_lost = 0
        self.reloader = Reloader()
        self.saves = Saves(data_dir.path / "mosquitto" / files.STORE, self._is_whole)
        self._state_is_lost = False
        self._folder = data_dir.path / "mosquitto"
        self._data_dir = data_dir
        self._client_id = data_dir.instance.mqtt_client_id
        self._subscription = subscription
        self._users = users
        self._debug_logging = debug_logging
        self.certificate = certificate
        self._debug_lines = False
        self._writing = trio.Lock()
        self._limits = limits
        self._on_line = on_line
        self._rendered: MosquittoProgram | None = None
        self._store_broken = False
        self._account: Account | None = None
        self.endpoint = BrokerEndpoint(
            data_dir.sockets / "mosquitto" / files.SOCKET, PRIVATE_USER, secrets.token_urlsafe(PASSWORD_BYTES)
        )
        self._private_hash = hash_password(self.endpoint.password)
        self.probe_password = secrets.token_urlsafe(PASSWORD_BYTES)
        self._probe_hash = hash_password(self.probe_password)

    async def settle(self) -> None:
        """Find the program and the port before anything starts, so that a port in use is reported at once."""
        self.program = await find_mosquitto()
        await stop_leftovers(self._folder / files.CONFIGURATION, PROGRAMS, polite=signal.SIGTERM)
        if self.devices.port == 0:
            self.devices = replace(self.devices, port=free_port(self.devices.host))
        if self.devices.tls_port == 0:
            self.devices = replace(self.devices, tls_port=_other_free_port(self.devices.host, self.devices.port))
        self._require_ports()
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
            self._require_ports()
            self._state_is_lost = False
        self._receipt.unlink(missing_ok=True)
        self.saves.started()
        async with self._writing:
            self._render(self.program)
        self._debug_lines = self._debug_logging
        with contextlib.suppress(FileNotFoundError):
            self.endpoint.socket.unlink()
        return Command(
            name="mosquitto",
            argv=(str(self.program.path), "-c", str(self._folder / files.CONFIGURATION)),
            account=self._account,
            stop_signal=signal.SIGTERM,
            stop_seconds=STOP_SECONDS,
            open_files=OPEN_FILES * len(self.devices.ports),
        )

    async def until_ready(self, child: Child) -> None:  # noqa: ARG002 - the keeper's signature
        await until(self._answers, period=POLL_SECONDS)

    async def answer(self, child: Child) -> None:  # noqa: ARG002 - the keeper's signature
        """Ask for a version of MQTT that there is not: it refuses, which takes neither a user nor a session."""
        async with await trio.open_unix_socket(self.endpoint.socket) as stream:
            await stream.send_all(UNKNOWN_VERSION)
            await stream.receive_some(4)

    def heard(self, line: str) -> str | None:
        if line.startswith(UNKNOWN_VERSION_LINE):
            return None
        line = line.replace(self._client_id, "(the appliance)")
        self.reloader.heard(line)
        if self._on_line is not None:
            self._on_line(line)
        if BROKEN_STORE.search(line):
            self._store_broken = True
        if self.saves.heard(line):
            return None
        if BEGINS in line:
            self._debug_lines = self._debug_logging
        if UNLOGGED.match(line) or (self._debug_lines and not line.startswith(("Error", "Warning"))):
            return None
        if line.startswith("Error"):
            log.error("mosquitto", line=line)
        elif line.startswith("Warning"):
            log.warning("mosquitto", line=line)
        else:
            log.info("mosquitto", line=line)
        return line

    async def ended(self, child: Child) -> None:
        """After a clean stop with the device listener open, record the store; after anything else, trust nothing.

        On a full disk, a stop is clean all the same when the last save has failed, or was cut off without a word.
        """
        if child.returncode != 0:
            self.devices_wanted = False
        elif self.saves.trouble is not None:
            log.error("the broker stopped without saving its queue: it is as it was saved last")
        elif self.devices_open and self._is_whole() and (seen := self._look_at_store()) is not None:
            try:
                write_atomically(self._receipt, msgspec.json.encode(seen))
            except OSError as error:  # a full disk: the next start checks the store instead
                log.warning("the broker's state cannot be recorded", error=str(error))

    def lose_state(self, why: str) -> None:
        """Report once that the broker's queue is lost, until the device listener is opened again."""
        if not self._state_is_lost:
            self._state_is_lost = True
            self.stores_lost += 1
            log.error("broker state lost", why=why)

    async def write(self, users: files.Users | None, debug_logging: bool | None, certificate: bytes | None) -> None:
        """Keep what is given, and write it unless the first start is still to come."""
        self.certificate = self.certificate if certificate is None else certificate
        self._users = self._users if users is None else users
        self._debug_logging = self._debug_logging if debug_logging is None else debug_logging
        if self._rendered is not None:
            async with self._writing:
                # In a thread: 10,000 users are 1.5 MB, and they are synced.
                await trio.to_thread.run_sync(self._render, self._rendered)
        self._debug_lines = self._debug_lines or self._debug_logging

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
            files.CONFIGURATION: files.configuration(
                self._folder, sockets, program, self._limits, devices, debug_logging=self._debug_logging
            ),
            files.ACL: files.acl_file(self._users),
            files.PASSWORDS: files.password_file(self._private_hash, self._probe_hash, self._users),
        }
        if self.certificate is not None:
            bring_up_to_date(self._folder / files.CERTIFICATE, self.certificate, owner=self._account)
        for name, text in texts.items():
            bring_up_to_date(self._folder / name, text.encode(), owner=self._account)
        self._rendered = program

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(self.endpoint.socket))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                return False
        return True

    def _require_ports(self) -> None:
        for key, port in self.devices.ports.items():
            _require_port(self.devices.host, port, key)

    def store_bytes(self) -> int | None:
        """Return the size of the store on disk, None if there is none."""
        seen = self._look_at_store()
        return None if seen is None else seen.size

    def _look_at_store(self) -> CleanStop | None:
        """Return size and time of the store, or None if there is none."""
        try:
            status = self._store.stat()
        except OSError:
            return None
        return CleanStop(status.st_size, status.st_mtime_ns)

    def _store_is_as_saved(self) -> bool:
        try:
            receipt = msgspec.json.decode(self._receipt.read_bytes(), type=CleanStop)
        except (FileNotFoundError, msgspec.MsgspecError):
            return False
        if receipt == self._look_at_store():
            return True
        self.lose_state("the store is not the one that was saved")
        return False

    def _is_whole(self) -> bool:
        """Return whether the store has its end, where our subscription stands once devices were let in."""
        return not self.devices_open or (self.program is not None and self._store_holds_subscription(self.program))

    def _store_holds_subscription(self, program: MosquittoProgram) -> bool:
        """Return whether the store that the next broker reads has our session with its subscription.

        Mosquitto writes a subscription as client id and topic filter in one, after all messages, so finding that also
        shows that the file was not cut off before. With persist-sqlite every change is on the disk before it is
        acknowledged, so the file need not be read.
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
            log.warning("the broker's store does not hold our subscription: the device listener stays closed")
        return held

    def _set_broken_store_aside(self) -> None:
        if not self._store_broken:
            return
        self._store_broken = False
        aside = self._store.with_name(f"{self._store.name}.broken-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        with contextlib.suppress(FileNotFoundError):
            self._store.rename(aside)
            self.lose_state(f"the store was damaged and is kept as {aside}")


def _other_free_port(host: str, taken: int) -> int:
    """Return a free port that is not ``taken``, which nobody listens on yet."""
    while (port := free_port(host)) == taken:
        pass
    return port


def _require_port(host: str, port: int, key: str) -> None:
    """Check that devices can be served on ``port``, which ``key`` chooses. Raises ApplianceError."""
    try:
        if is_free(host, port):
            return
    except OSError as error:
        raise ApplianceError(
            f"Devices cannot be served on {host} port {port} ({error.strerror}): set another broker.host or {key}"
        ) from None
    owner = port_owner(port)
    mend = f"stop it, or set another {key}"
    if owner.user == USER or "/mosquitto" in (owner.command or ""):
        mend = f"if it is Debian's service, `systemctl disable --now mosquitto`, or set another {key}"
    raise ApplianceError(f"Port {port} is in use by {owner.describe()}: {mend}")
