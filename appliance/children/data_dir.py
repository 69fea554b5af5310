"""The folder of one appliance: its lock, identity, keys, the children's data, and the file that says it is ready.

data_dir/
  appliance.lock   locked while an appliance runs; holds its pid
  instance.json    identity; the MQTT client id in it is a secret
  keys.json        keys of sealed secrets, newest first; as secret as what they seal
  backups.json     what is known of the last nightly backups
  clock.json       the service time as it was recorded last
  broker-session   which external broker has our session
  run.json         addresses, there while the appliance is ready
  sockets          link to the short private folder of Unix sockets (a socket's path ends at 107 bytes)
  tls/             the authority and the certificate of this appliance (appliance.tls)
  upgrades/        copies of the database before its last upgrades, as secret as all of it (appliance.upgrade)
  reserve/         room kept back for a full disk (appliance.disk)
  restoring/       what a restore builds; with restore.json, what it moves (appliance.children.replacement)
  replaced-TIME/   what was here before a restore
  postgres/        the database
  mosquitto/       the broker's store and its rendered files
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from appliance.children import replacement
from appliance.children.account import Account, user_name
from appliance.children.files import make_folder, write_atomically
from appliance.children.replacement import RUN_FILE
from appliance.disk.reserve import give_back_if_short
from appliance.errors import ApplianceError
from appliance.keyring import Keyring, SealingKey, decode, encode, new_key

log = structlog.get_logger(__name__)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
SOCKETS = "sockets"
"""The link in the data folder to the folder of Unix sockets."""
SOCKETS_PREFIX = "edge-appliance-"
UNKNOWN = "unknown"
"""In place of the pid of a process that has locked the data folder and found no room to write it."""
LOOKS, LOOK_SECONDS = 50, 0.01
"""How often, and how many seconds apart, the lock is tried before it counts as that of a running appliance."""
MAX_SOCKET_FOLDER = 80  # bytes, so that "/postgres/.s.PGSQL.5432" still fits into 107


class Instance(msgspec.Struct, frozen=True):
    """The identity of an installation. ``mqtt_client_id`` is a secret: it is enough to take over the broker session."""

    instance_id: str
    mqtt_client_id: str

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"Instance(instance_id={self.instance_id!r})"


class RunFile(msgspec.Struct, frozen=True):
    """The addresses of a running appliance, for people and for our own commands."""

    pid: int
    web_url: str
    mqtt_host: str
    mqtt_port: int
    """0 where devices reach the embedded broker under TLS alone."""
    database: str
    socket_dir: str | None
    mqtt_tls_port: int | None = None
    """Where devices reach the embedded broker under TLS; None where they do not."""


class DataDir:
    """A data folder under our exclusive lock. Created by :func:`open_data_dir`."""

    def __init__(self, path: Path, instance: Instance, keys: Sequence[SealingKey], sockets: Path) -> None:
        self.path = path
        self.instance = instance
        self.keyring = Keyring(keys)
        self.sockets = sockets

    def folder(self, name: str, owner: Account | None) -> Path:
        """Return the folder ``name`` of a child that runs as ``owner``, created if needed, closed to all others."""
        path = self.path / name
        make_folder(path, 0o700, owner=owner)
        return path

    def socket_folder(self, name: str, owner: Account | None) -> Path:
        """Return a folder for the Unix sockets of a child that runs as ``owner``, closed to everybody else but us."""
        path = self.sockets / name
        make_folder(path, 0o700, owner=owner)
        return path

    def write_run_file(self, run: RunFile) -> None:
        """Publish that the appliance is ready, and its addresses."""
        write_atomically(self.path / RUN_FILE, msgspec.json.format(msgspec.json.encode(run)) + b"\n")

    def remove_run_file(self) -> None:
        """Withdraw the file: the appliance is no longer ready."""
        (self.path / RUN_FILE).unlink(missing_ok=True)


def read_run_file(path: Path) -> RunFile | None:
    """Return the addresses of the appliance that runs on ``path``, or None if none is ready there.

    A killed one leaves the file, and its pid may be that of any other process by now: the lock of ``path`` ends with
    the process that holds it. Raises ApplianceError when the caller may not read it.
    """
    try:
        run = msgspec.json.decode((path / RUN_FILE).read_bytes(), type=RunFile)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    except PermissionError:
        raise ApplianceError(_closed(path)) from None
    return run if lock_holder(path) in (str(run.pid), UNKNOWN) else None


def read_instance(path: Path) -> Instance:
    """Return the identity of the installation in ``path``. Raises ApplianceError when there is none yet."""
    try:
        return msgspec.json.decode((path / "instance.json").read_bytes(), type=Instance)
    except FileNotFoundError:
        raise ApplianceError(f"no appliance was ever started on {path}: name another data_dir") from None
    except PermissionError:
        raise ApplianceError(_closed(path)) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ApplianceError(f"{path / 'instance.json'} cannot be read: {error}") from None


def _closed(path: Path) -> str:
    return f"{path} cannot be read: run this command as the user who runs the appliance, or as root"


@contextlib.contextmanager
def open_data_dir(path: Path) -> Iterator[DataDir]:
    """Create, check and lock ``path``; finish or undo a restore that was interrupted.

    Raises :class:`ApplianceError` when another appliance runs on it (with its pid), or when it cannot be used (with
    what to do about it).
    """
    with locked_data_dir(path) as path:
        with _told_when_full(path):
            try:
                instance = _instance(path / "instance.json")
                keys = _keys(path / "keys.json")
            except PermissionError:
                raise ApplianceError(_closed(path)) from None
            sockets = _make_sockets(path / SOCKETS)
        try:
            yield DataDir(path, instance, keys, sockets)
        finally:
            (path / RUN_FILE).unlink(missing_ok=True)
            shutil.rmtree(sockets, ignore_errors=True)
            (path / SOCKETS).unlink(missing_ok=True)


@contextlib.contextmanager
def locked_data_dir(path: Path) -> Iterator[Path]:
    """Create, check and lock ``path``, and bring a replacement of its content to an end that was interrupted.

    Yields where it really is. Raises as :func:`open_data_dir` does.
    """
    path = path.absolute()
    with _told_when_full(path):
        _make(path)
    path = path.resolve()
    require_owner(path, path / "instance.json")
    with _lock(path):
        if (path / replacement.BUILT / SOCKETS).is_symlink():
            _remove_sockets(path / replacement.BUILT / SOCKETS)
        replacement.settle(path)
        yield path


def require_owner(path: Path, proof: Path) -> None:
    """Raise ApplianceError when we are root and ``proof`` in the data folder ``path`` belongs to another user.

    That user runs the appliance there, and could not read what root would write.
    """
    try:
        owner = proof.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return
    if os.geteuid() == 0 and owner != 0:
        user = user_name(owner)
        raise ApplianceError(
            f"data_dir {path} is that of user {user}, and root would close it to that user: run this command as {user},"
            f" with `sudo -u {user if user != str(owner) else f'#{owner}'}` for example, or name another data_dir"
        )


def lock_holder(path: Path) -> str | None:
    """Return the pid of the appliance or command that works on ``path``, ``UNKNOWN`` if it has not said; None: none.

    Nothing is written. Raises ApplianceError when that cannot be read.
    """
    try:
        descriptor = os.open(path / "appliance.lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise ApplianceError(_closed(path)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said_in(descriptor)
    finally:
        os.close(descriptor)
    return None


def _said_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or UNKNOWN


def refuse_unusable(path: Path) -> None:
    """Raise ApplianceError where :func:`locked_data_dir` would refuse the folder ``path``; nothing is written.

    Whether another process has locked it is asked apart, with :func:`lock_holder`.
    """
    there = path = path.absolute()
    try:
        while not os.path.lexists(there):  # a link that leads nowhere is there, and is no folder
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError
        if there == path:
            _refuse_open_to_all(path, path.stat().st_mode)
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unusable(path, error) from None
    require_owner(path.resolve(), path / "instance.json")


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = path.stat().st_mode
        _refuse_open_to_all(path, mode)
        # Children that run as other users pass through it, which takes x but not r.
        if os.geteuid() == 0 and not mode & stat.S_IXOTH:
            path.chmod(stat.S_IMODE(mode) | stat.S_IXGRP | stat.S_IXOTH)
        with _borne_when_full(), tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _unusable(path, error) from None


def _refuse_open_to_all(path: Path, mode: int) -> None:
    if mode & stat.S_IWOTH:
        raise ApplianceError(
            f"data_dir {path} can be written by everybody: `chmod o-w {path}`, or choose another data_dir"
        )


def _unusable(path: Path, error: OSError) -> ApplianceError:
    if isinstance(error, NotADirectoryError | FileExistsError):
        return ApplianceError(f"data_dir {path} is not a folder: choose another data_dir")
    mend = "mount it to be written to" if error.errno == errno.EROFS else f"`chown {os.geteuid()} {path}`"
    return ApplianceError(
        f"data_dir {path} cannot be used by user id {os.geteuid()} ({error.strerror}): "
        f"{mend}, or choose another data_dir"
    )


@contextlib.contextmanager
def _borne_when_full() -> Iterator[None]:
    """Go on when the disk is full: a folder that was used before needs no room to be used again."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise


@contextlib.contextmanager
def _told_when_full(path: Path) -> Iterator[None]:
    """Raise ApplianceError when there is no room for the first files of a data folder."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ApplianceError(
            f"the disk of data_dir {path} is full ({error.strerror}): remove what is not needed there, "
            "or choose another data_dir"
        ) from None


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with _told_when_full(path):
        try:
            descriptor = os.open(path / "appliance.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            raise ApplianceError(_closed(path)) from None
    try:
        if not _taken(descriptor):
            raise ApplianceError(
                f"another appliance (pid {_said_in(descriptor)}) runs on {path}: stop it, or choose another data_dir"
            )
        # That of a killed one names our pid, too, where both are process 1 of a container: it goes before we are seen.
        (path / RUN_FILE).unlink(missing_ok=True)
        if given := give_back_if_short(path):
            log.error("the disk is full", folder=str(path), reserve_given_back=given)
        os.ftruncate(descriptor, 0)
        with _borne_when_full():
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # which unlocks; the file stays, since removing it would let two lock two files


def _taken(descriptor: int) -> bool:
    """Take the lock, and return whether it was free; a command that only looks who has it, holds it for a moment."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _instance(path: Path) -> Instance:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Instance)
    except FileNotFoundError:
        instance = Instance(instance_id=secrets.token_hex(6), mqtt_client_id=f"edge-{secrets.token_hex(16)}")
        write_atomically(path, msgspec.json.encode(instance) + b"\n")
        log.info("new installation", instance=instance.instance_id)
        return instance
    except msgspec.MsgspecError as error:
        raise ApplianceError(
            f"{path} is damaged ({error}): restore it from a backup; without it the broker session is lost"
        ) from None


def _keys(path: Path) -> list[SealingKey]:
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        keys = [new_key()]
        write_atomically(path, encode(keys))
        return keys


def _make_sockets(link: Path) -> Path:
    """Create a private folder with a short path, and ``link`` to it; remove the one of a killed predecessor."""
    if link.is_symlink():
        _remove_sockets(link)
    folder = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=_short_place()))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    link.symlink_to(folder)
    return folder


def _remove_sockets(link: Path) -> None:
    old = link.readlink()
    if re.fullmatch(rf"{SOCKETS_PREFIX}\w+", old.name) and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    link.unlink()


def _short_place() -> Path:
    own = [Path("/run")] if os.geteuid() == 0 else []
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.geteuid() != 0:  # root's own is closed to the children's users
        own.append(Path(runtime))
    for place in own:
        if os.access(place, os.W_OK | os.X_OK) and len(bytes(place)) + 30 <= MAX_SOCKET_FOLDER:
            return place
    return Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of unguessable name that only we can enter
