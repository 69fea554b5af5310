"""The files Mosquitto reads, rendered from values: pure text, nothing is read or written here.

``per_listener_settings`` stays off although the appliance's user has a listener of its own. With it on, Mosquitto 2.0
ties a stored session to its listener by TCP port; a session that came in over a Unix socket has none, so after each
restart of the broker the session is "not associated with ACLs", and everything devices publish until the appliance
is back is acknowledged and dropped. Users are kept apart by what they are: the appliance's password is random at
each start and never leaves the process, so its user is of no use on the device listener.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.children.programs import MosquittoProgram

PRIVATE_USER = "appliance"
HASH_ITERATIONS = 101  # mosquitto_passwd's own number: our passwords are random, stretching adds nothing
SALT_BYTES = 12
STORE = "mosquitto.db"
SQLITE_STORE = "mosquitto.sqlite3"
PASSWORDS = "passwd"
ACL = "acl"
CONFIGURATION = "mosquitto.conf"
SOCKET = "mosquitto.sock"
TOPIC_BYTES = 65535 + 1024  # the longest topic and properties, on top of a payload


@dataclass(frozen=True, slots=True)
class DeviceUser:
    """A broker user confined by the ACL patterns; ``password_hash`` is in the broker's own format."""

    username: str
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What the broker bears. The queue is what the appliance may be away for."""

    max_message_bytes: int = 256 * 1024  # above our own limit, so that we see and quarantine what is too large
    max_queued_messages: int = 200_000
    max_queued_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 768 * 1024 * 1024  # a full queue, its bookkeeping and as much again for 10,000 connections
    max_inflight_messages: int = 4096
    max_connections: int = 10_000
    max_keepalive_seconds: int = 300
    session_days: int = 14  # longer than any planned stop
    autosave_seconds: int = 5
    sys_seconds: int = 10


@dataclass(frozen=True, slots=True)
class DeviceListener:
    """Where devices connect."""

    host: str
    port: int


def hash_password(password: str, salt: bytes | None = None) -> str:
    """``password`` in Mosquitto 2's format: PBKDF2-SHA512, ``$7$iterations$salt$hash``."""
    salt = salt or secrets.token_bytes(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ITERATIONS)
    return f"$7${HASH_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def password_file(users: Iterable[DeviceUser]) -> str:
    """One line a user. Raises ValueError for a name that the file cannot hold, or that is there twice."""
    lines: dict[str, str] = {}
    for user in users:
        if user.username in lines:
            raise ValueError(f"two broker users are named {user.username!r}")
        lines[user.username] = f"{_checked(user.username)}:{user.password_hash}\n"
    return "".join(lines.values())


def acl_file() -> str:
    """The appliance's user may everything; a device, and a tenant's claim user, what its own name spells.

    A device's user is named ``{tenant}/device/{device}``, a claim user ``{tenant}``.
    """
    return f"""# Written at every start; changes are lost.
user {PRIVATE_USER}
topic readwrite #
topic read $SYS/#

pattern write tenant/%u/+
pattern read tenant/%u/down/#
pattern write tenant/%u/device/+/+
"""


def configuration(
    folder: Path, sockets: Path, program: MosquittoProgram, limits: BrokerLimits, devices: DeviceListener | None
) -> str:
    """mosquitto.conf with the private listener, and with the device listener if ``devices`` is given."""
    lines = [
        "# Written at every start; changes are lost.",
        "per_listener_settings false",
        "allow_anonymous false",
        f"password_file {folder / PASSWORDS}",
        f"acl_file {folder / ACL}",
        *_persistence(folder, program, limits),
        *_limits(program, limits),
        "log_dest stderr",
        "log_timestamp false",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        # Who was refused is read from these lines; what names a client id goes no further (see mosquitto.heard).
        "connection_messages true",
    ]
    if devices is not None:
        lines += [f"listener {devices.port} {devices.host}", f"max_connections {limits.max_connections}"]
    # The private listener comes last: once it answers, the others do.
    lines.append(f"listener 0 {sockets / SOCKET}")
    return "\n".join([*lines, ""])


def _persistence(folder: Path, program: MosquittoProgram, limits: BrokerLimits) -> Sequence[str]:
    expiration = f"persistent_client_expiration {limits.session_days}d"
    if program.persist_sqlite is not None:
        return [
            f"persistence_location {folder}/",
            f"plugin {program.persist_sqlite}",
            "plugin_opt_sync full",
            "plugin_opt_flush_period 0",
            expiration,
        ]
    return [
        "persistence true",
        f"persistence_location {folder}/",
        f"persistence_file {STORE}",
        "autosave_on_changes false",  # so that the interval counts seconds
        f"autosave_interval {limits.autosave_seconds}",
        expiration,
    ]


def _limits(program: MosquittoProgram, limits: BrokerLimits) -> Sequence[str]:
    lines = [
        f"max_packet_size {limits.max_message_bytes + TOPIC_BYTES}",
        f"max_queued_messages {limits.max_queued_messages}",
        f"max_queued_bytes {limits.max_queued_bytes}",
        f"max_inflight_messages {limits.max_inflight_messages}",
        f"max_keepalive {limits.max_keepalive_seconds}",
        f"memory_limit {limits.memory_bytes}",
        f"sys_interval {limits.sys_seconds}",
        "upgrade_outgoing_qos true",
        "queue_qos0_messages true",
        "check_retain_source true",
    ]
    if program.version < (2, 1, 0):  # from then on max_packet_size alone rules
        lines.append(f"message_size_limit {limits.max_message_bytes}")
    return lines


def _checked(username: str) -> str:
    if not username or not username.isprintable() or set(username) & set(":+#%"):
        raise ValueError(f"not a name for the broker's password file: {username!r}")
    return username
