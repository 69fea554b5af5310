"""What a bundle tells of the machine: versions, memory, disk, limits. It reads files and starts no program but ours."""

import os
import platform
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from appliance import __version__
from appliance.children.mosquitto_files import CONFIGURATION
from appliance.children.programs import MosquittoProgram, PostgresPrograms, find_mosquitto, find_postgres
from appliance.errors import ApplianceError
from appliance.sbom.python_packages import installed, name_of
from appliance.service_clock.build_date import BUILD_DATE
from appliance.service_clock.clock import ServiceClock

MEMORY = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
CONTAINER_LIMITS = ("memory.max", "memory.current", "cpu.max", "pids.max", "pids.current")
LIMITS = {"open_files": resource.RLIMIT_NOFILE, "processes": resource.RLIMIT_NPROC, "core": resource.RLIMIT_CORE}
PUBLIC_OPTIONS = frozenset(
    {"listener", "socket_domain", "allow_anonymous", "per_listener_settings", "protocol", "tls_version", "persistence"}
    | {"max_connections", "max_inflight_messages", "max_keepalive", "max_packet_size", "message_size_limit", "max_qos"}
    | {"max_queued_bytes", "max_queued_messages", "queue_qos0_messages", "upgrade_outgoing_qos", "memory_limit"}
    | {"autosave_interval", "autosave_on_changes", "persistent_client_expiration", "retain_available", "log_type"}
    | {"sys_interval", "set_tcp_nodelay", "require_certificate", "connection_messages", "log_dest"}
)
"""Options of Mosquitto whose values say nothing of passwords, users and keys; of others only the name is told."""


async def versions() -> Mapping[str, Any]:
    """Return the versions of the program and of everything below it."""
    return {
        "appliance": __version__,
        "build_date": BUILD_DATE.date().isoformat(),
        "single_file": bool(getattr(sys, "frozen", False)),
        "python": sys.version,
        "openssl": ssl.OPENSSL_VERSION,
        "libpq": psycopg.pq.version(),
        "postgres_program": await _program(partial(find_postgres, None)),
        "mosquitto_program": await _program(find_mosquitto),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "system": _system(),
        "packages": {name_of(each): each.version for each in installed()},
    }


async def _program(find: Callable[[], Awaitable[PostgresPrograms | MosquittoProgram]]) -> str:
    try:
        found = await find()
    except ApplianceError as error:
        return str(error)
    return found.version_text if isinstance(found, MosquittoProgram) else str(found.major)


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def machine() -> Mapping[str, Any]:
    """Return memory, processors, load and limits."""
    return {
        "processors": os.cpu_count(),
        "load": list(os.getloadavg()),
        "uptime_seconds": float(Path("/proc/uptime").read_text().split()[0]),
        "memory": {name: value for name, value in _pairs(Path("/proc/meminfo")) if name in MEMORY},
        "container": {name: text for name in CONTAINER_LIMITS if (text := _line(Path("/sys/fs/cgroup", name)))},
        "limits": {name: resource.getrlimit(number) for name, number in LIMITS.items()},
        "user_is_root": os.geteuid() == 0,
    }


def disk(folder: Path) -> Mapping[str, Any]:
    """Return the file system of the data folder, and the size of each entry in it. Raises OSError without one."""
    found = os.statvfs(folder)
    entries = sorted(folder.iterdir())
    return {
        "data_dir": str(folder),
        "file_system": _file_system(folder),
        "bytes": {"total": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize},
        "inodes": {"total": found.f_files, "free": found.f_favail},
        "entries": {entry.name: _size(entry) for entry in entries},
    }


def clock(service: ServiceClock) -> Mapping[str, Any]:
    """Return service time beside the clock of the machine."""
    doubt = service.doubt
    return {
        "service_time": _time(service.now()),
        "wall_clock": _time(service.wall()),
        "trusted": service.trusted,
        "doubt": None if doubt is None else str(doubt.cause),
    }


def broker(folder: Path) -> str:
    """Return the settings of our Mosquitto. Raises OSError where it was never started."""
    lines = []
    for line in (folder / "mosquitto" / CONFIGURATION).read_text().splitlines():
        option, _, value = line.strip().partition(" ")
        if option and not option.startswith("#"):
            lines.append(f"{option} {value if option in PUBLIC_OPTIONS else '(set)'}")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _pairs(path: Path) -> list[tuple[str, str]]:
    return [(name, value.strip()) for line in path.read_text().splitlines() for name, _, value in [line.partition(":")]]


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder that can be read."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_size
            except OSError:  # it has gone meanwhile
                continue
    return total


def _file_system(folder: Path) -> Mapping[str, str]:
    """Return the type and the options of the mount that ``folder`` is on."""
    best: tuple[str, str, str] = ("", "", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if folder.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind, options)
    return {"mounted_at": best[0], "type": best[1], "options": best[2]}
