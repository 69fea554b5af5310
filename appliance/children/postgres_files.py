"""Render the files that Postgres reads at its start, from a few settings. Pure: nothing is read or written here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PORT = 5432  # part of the socket's name only: there is no TCP listener
SUPERUSER = "postgres"
MAP = "appliance"
INCLUDE = "appliance.conf"

# Durability depends on these: given on the command line, which neither an edited file nor ALTER SYSTEM overrides.
DURABLE: tuple[tuple[str, str], ...] = (
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("listen_addresses", ""),
)


SEGMENT = re.compile("[0-9A-F]{24}")
"""The names of the log's segments."""
MIB = 1024 * 1024
LEAST_LOG, MOST_LOG, LOG_PART = 32, 1024, 6
"""MB of the log, and the part of the disk that it may take. More only makes checkpoints rarer."""
KEPT_LOG = 128
"""MB of the log that are used again instead of removed: those Postgres can write on a disk that has become full."""
SMALL_DISK = 4096
"""MB. On a smaller disk, a segment of the log is SMALL_SEGMENT MB, since there are always some of them."""
SMALL_SEGMENT, USUAL_SEGMENT = 4, 16


@dataclass(frozen=True, slots=True)
class LogSizes:
    """Sizes of the write-ahead log, in MB."""

    most: int
    kept: int
    """What is kept and written anew. Postgres stops when its log finds no room, so this must not depend on any."""
    segment: int
    """Of a new cluster; it stays what it was."""
    ahead: bool
    """Whether what is kept is there from the start: on a small disk, which fills before Postgres has had so many."""


def log_sizes(disk: int, segment: int | None) -> LogSizes:
    """Return the sizes on a disk of ``disk`` bytes; ``segment``: what the segments of an existing cluster have, in MB.

    Two segments are the least that Postgres takes.
    """
    size = disk // MIB
    segment = segment or (SMALL_SEGMENT if size < SMALL_DISK else USUAL_SEGMENT)
    most = max(min(size // LOG_PART, MOST_LOG), LEAST_LOG, 2 * segment)
    return LogSizes(most, max(min(most, KEPT_LOG), 2 * segment), segment, size < SMALL_DISK)


@dataclass(frozen=True, slots=True)
class Memory:
    """Settings for a gateway of 1 to 4 GB. Sizes in MB."""

    shared_buffers: int = 128
    work_mem: int = 8
    maintenance_work_mem: int = 64
    max_connections: int = 40


def configuration(sockets: Path, memory: Memory, log: LogSizes) -> str:
    """Return the include file, written anew at every start."""
    settings = {
        "listen_addresses": "''",
        "port": str(PORT),
        "unix_socket_directories": quoted(str(sockets)),
        "unix_socket_permissions": "0700",
        "max_connections": str(memory.max_connections),
        "shared_buffers": f"{memory.shared_buffers}MB",
        "work_mem": f"{memory.work_mem}MB",
        "maintenance_work_mem": f"{memory.maintenance_work_mem}MB",
        "max_wal_size": f"{log.most}MB",
        "min_wal_size": f"{log.kept}MB",
        "wal_recycle": "on",
        "checkpoint_timeout": "15min",
        "jit": "off",  # compiles for longer than our queries run
        "max_locks_per_transaction": "256",  # one for each partition and index that a query touches
        "TimeZone": "'UTC'",
        "log_timezone": "'UTC'",
        "log_destination": "'stderr'",
        "logging_collector": "off",
        "log_line_prefix": "''",
        "log_checkpoints": "off",
        "log_autovacuum_min_duration": "-1",
        # Neither statements nor values in the log: they may hold payloads and secrets. An error of a query goes to
        # who sent it; "log" leaves it out here and keeps what concerns the server.
        "log_min_messages": "log",
        "log_error_verbosity": "terse",
        "log_min_error_statement": "panic",
        "log_statement": "none",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["# Written at every start; changes are lost.", *lines, ""])


def host_based_authentication() -> str:
    """Return pg_hba.conf: the Unix socket with peer authentication, and nothing else."""
    return f"# Written at every start; changes are lost.\nlocal all all peer map={MAP}\n"


def identity_map(users: Sequence[str], roles: Sequence[str]) -> str:
    """Return pg_ident.conf: each of the system's ``users`` may log in as the superuser and as each of ``roles``."""
    lines = [f"{MAP} {_name(user)} {_name(role)}" for user in dict.fromkeys(users) for role in (SUPERUSER, *roles)]
    return "\n".join(["# Written at every start; changes are lost.", *lines, ""])


def quoted(value: str) -> str:
    """Return a value of postgresql.conf in quotes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _name(name: str) -> str:
    if not name or '"' in name or not name.isprintable():
        raise ValueError(f"not a name for pg_ident.conf: {name!r}")
    return f'"{name}"'
