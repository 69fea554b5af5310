"""Checks of the machine: the clock, the disk, the ports, and the programs of an embedded Postgres and Mosquitto."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.children.data_dir import lock_holder
from appliance.children.leftovers import Process, leftovers
from appliance.children.mosquitto_files import CONFIGURATION
from appliance.children.ports import is_free, port_owner
from appliance.children.programs import find_mosquitto, find_postgres
from appliance.counted import counted
from appliance.disk.levels import DiskState, Judgement, Room, levels_of_bytes
from appliance.disk.reserve import Reserve, measure
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken
from appliance.errors import ApplianceError
from appliance.service_clock.advice import CAUSES, EFFECT, MEND

NO_FOLDER = "no appliance was ever started on {}"
CHILDREN: Mapping[str, str] = {"postgres": "postgres", f"mosquitto/{CONFIGURATION}": "mosquitto"}
"""What the children of an appliance have as their argument or their working directory, and what they are called."""
LARGE_OFFSET_SECONDS = 60.0
"""Seconds between service time and the machine's clock that somebody should know of; trusted, they go together."""


@dataclass(frozen=True, slots=True)
class Time:
    """The clock of the machine beside service time; ``cause`` is what raises a doubt, None without one."""

    cause: str | None
    offset: float
    """Seconds that the machine's clock is ahead of service time."""


async def look_at_clock(sight: Sight) -> Time:
    """Return what the clock of the machine shows."""
    doubt = sight.clock.doubt
    return Time(None if doubt is None else CAUSES[doubt.cause], sight.clock.wall() - sight.clock.now())


def judge_clock(seen: Time) -> Iterable[Finding]:
    """Judge the clock: a doubt harms nothing, which is P24, and should end."""
    offset = (
        f"the machine's clock is {abs(seen.offset):,.0f} s {'ahead of' if seen.offset > 0 else 'behind'} service time"
    )
    if seen.cause is not None:
        yield advised(f"the clock is in doubt; {offset}. {seen.cause} {EFFECT}", f"{MEND} `appliance clock confirm`")
    elif abs(seen.offset) > LARGE_OFFSET_SECONDS:
        yield advised(offset, "let NTP set the machine's clock: `timedatectl set-ntp true`")


@dataclass(frozen=True, slots=True)
class Disk:
    """The room on the disk of the data folder; ``owed`` is what of the reserve is not held, in bytes and files."""

    room: Room
    owed_bytes: int
    owed_files: int
    running: bool


async def look_at_disk(sight: Sight) -> Disk:
    """Return the room on the disk of the data folder. Raises UnseenError without one."""
    folder = _folder(sight)
    room = measure(folder)
    reserve = Reserve(folder, room.total)
    return Disk(room, reserve.owed_bytes, reserve.owed_files, sight.run is not None)


def judge_disk(disk: Disk) -> Iterable[Finding]:
    """Judge bytes and inodes by the levels of the appliance itself, and whether the reserve is held."""
    judged = Judgement().after(disk.room, 0, 0)
    make_room = "remove what is not needed on the disk of data_dir, or lower retention.days"
    if judged.state is DiskState.FULL:
        yield broken(f"{judged.text(disk.room)}: messages are held until there is room", make_room)
        return
    if judged.of_bytes is DiskState.LOW:
        low = levels_of_bytes(disk.room.total).low
        yield advised(f"{_mb(disk.room.free)} are free, less than {_mb(low)}", make_room)
    if judged.of_files is DiskState.LOW:
        yield advised(f"{disk.room.free_files} of {disk.room.files} inodes are free", make_room)
    if disk.running and disk.owed_files:
        yield advised(
            f"{_mb(disk.owed_bytes)} of the reserve for a full disk are not held",
            f"{make_room}; it is taken again then",
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of ours, and who listens on it."""

    key: str
    port: int
    owner: str | None
    """None: nobody listens."""
    ours: bool | None
    """Whether that is the running appliance; None: the kernel does not tell us."""
    running: bool


async def look_at_ports(sight: Sight) -> Sequence[Listener]:
    """Return who listens on the ports of the dashboard and of devices."""
    web, broker = sight.config.web, sight.config.broker
    wanted = [("web.port", web.host, web.port)]
    if broker.url is None and broker.plain:
        wanted.append(("broker.port", broker.host, broker.port))
    if broker.url is None and broker.tls_port is not None:
        wanted.append(("broker.tls_port", broker.host, broker.tls_port))
    return [_listener(sight, key, host, port) for key, host, port in wanted if port]


def _listener(sight: Sight, key: str, host: str, port: int) -> Listener:
    running = sight.run is not None
    owner = port_owner(port)
    if owner.pid is None and owner.user is None:
        free = is_free(host, port) if not running else True
        return Listener(key, port, None if free else owner.describe(), None, running)
    ours = None if owner.pid is None else owner.pid in _own_pids(sight)
    return Listener(key, port, owner.describe(), ours, running)


def _own_pids(sight: Sight) -> set[int]:
    """Return the processes of the appliance; while it waits for a broker elsewhere it listens, and is not ready yet."""
    folder = sight.config.data_dir.resolve()
    holder = lock_holder(folder) or ""
    return {child.pid for child in _children(folder)} | ({int(holder)} if holder.isdecimal() else set())


def judge_ports(listeners: Sequence[Listener]) -> Iterable[Finding]:
    """Judge whether the appliance listens where it should, or could if it were started."""
    for each in listeners:
        if each.running and each.owner is None:
            yield broken(f"nobody listens on {each.key} {each.port}, although the appliance runs", "see `ready`")
        elif each.owner is not None and (each.ours is False or (not each.running and not each.ours)):
            yield advised(
                f"{each.key} {each.port} is taken by {each.owner}",
                f"stop it (`systemctl disable --now mosquitto` for Debian's own broker), or choose another {each.key}",
            )


@dataclass(frozen=True, slots=True)
class Programs:
    """Whether a program was found; ``fault`` is why it cannot be used."""

    fault: str | None


async def look_at_postgres_program(sight: Sight) -> Programs:
    """Return whether there is a Postgres for the embedded data. Raises UnseenError where the database is external."""
    if sight.config.database.url is not None:
        raise UnseenError("the database is external: see postgres_version")
    return await _found(find_postgres(_cluster_major(sight.config.data_dir)))


async def look_at_mosquitto_program(sight: Sight) -> Programs:
    """Return whether there is a Mosquitto for the embedded broker. Raises UnseenError where the broker is external."""
    if sight.config.broker.url is not None:
        raise UnseenError("the broker is external")
    return await _found(find_mosquitto())


async def _found(search: Awaitable[object]) -> Programs:
    try:
        await search
    except ApplianceError as error:
        return Programs(str(error))
    return Programs(None)


def judge_program(seen: Programs) -> Iterable[Finding]:
    """Judge whether the program can be used."""
    if seen.fault is not None:
        yield broken(seen.fault, "install the package, then start the appliance again")


async def look_for_leftovers(sight: Sight) -> Sequence[str]:
    """Return the servers that work on the data folder although no appliance runs there."""
    folder = _folder(sight).resolve()
    if sight.run is not None:
        return []
    holder = lock_holder(folder)
    if holder is not None:
        raise UnseenError(f"an appliance or a command (pid {holder}) begins or ends its work on {folder}")
    return [f"{child.argv[0]} (pid {child.pid})" for child in _children(folder)]


def _children(folder: Path) -> list[Process]:
    return [child for path, name in CHILDREN.items() for child in leftovers(folder / path, frozenset({name}))]


def judge_leftovers(found: Sequence[str]) -> Iterable[Finding]:
    """Judge that nothing is left of a killed appliance."""
    if found:
        yield advised(
            f"a killed appliance left {counted(len(found), 'process', 'processes')}: {', '.join(found[:3])}",
            "start the appliance, which stops them first",
        )


def _cluster_major(data_dir: Path) -> int | None:
    """Return the major version that wrote the embedded data; None while there are none."""
    try:
        return int((data_dir / "postgres" / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _folder(sight: Sight) -> Path:
    folder = sight.config.data_dir
    if not folder.is_dir():
        raise UnseenError(NO_FOLDER.format(folder))
    return folder


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
