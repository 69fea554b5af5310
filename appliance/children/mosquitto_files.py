"""Render the files that Mosquitto reads. Pure: nothing is read or written here.

``per_listener_settings`` stays off although the appliance's user has a listener of its own. With it on, Mosquitto 2.0
ties a stored session to its listener by TCP port; a session that came in over a Unix socket has none, so after each
restart of the broker the session is "not associated with ACLs", and everything devices publish until the appliance
is back is acknowledged and dropped. Users are kept apart by what they are: the appliance's password is random at
each start and never leaves the process, so its user is of no use on the device listener.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from appliance.broker.accounts import PRIVATE_USER, PROBE_TOPIC, PROBE_USER
from appliance.children.programs import MosquittoProgram

STORE = "mosquitto.db"
SQLITE_STORE = "mosquitto.sqlite3"
PASSWORDS = "passwd"
ACL = "acl"
CONFIGURATION = "mosquitto.conf"
CERTIFICATE = "listener.pem"
"""The certificate of the listener under TLS, and its key."""
SOCKET = "mosquitto.sock"
LOG_TYPES = ("error", "warning", "notice", "information")
TOPIC_BYTES = 4096
"""Bytes for topic and properties on top of a payload. The longest topic of a device has 150."""


@dataclass(frozen=True, slots=True)
class Users:
    """Everybody but the appliance, as lines of the broker's files, each with its end.

    Names and hashes come from a database that lets through nothing which could end a line or make a pattern.
    """

    passwords: str = field(default="", repr=False)
    """``name:hash``; a device's user is called ``{tenant}/device/{device}``, a claim user ``{tenant}``."""
    claims: str = ""
    """``user {tenant}`` for each claim user, and below it ``topic write ...`` for the three kinds of message of any
    device, and ``topic deny ...`` for each device that it may not speak for."""

    def without(self, shut_out: Collection[str]) -> "Users":
        """Return these users without those that are shut out: the broker ends their connections and refuses them."""
        if not shut_out:
            return self
        lines = self.passwords.splitlines(keepends=True)
        return replace(self, passwords="".join(line for line in lines if line.partition(":")[0] not in shut_out))


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """The broker's limits. The queue bounds how long the appliance may be away."""

    max_message_bytes: int = 32 * 1024  # above our own limit, so that we see and quarantine what is too large
    max_queued_messages: int = 200_000
    max_queued_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 768 * 1024 * 1024  # a full queue, its bookkeeping and as much again for 10,000 connections
    max_inflight_messages: int = 4096
    max_connections: int = 10_000
    max_keepalive_seconds: int = 300
    session_days: int = 14  # longer than any planned stop
    autosave_seconds: int = 5
    sys_seconds: int = 2  # so fast its memory could fill up that ten seconds later is too late to know


@dataclass(frozen=True, slots=True)
class DeviceListener:
    """The address that devices connect to, in clear text, under TLS, or both."""

    host: str
    port: int
    bind_client_ids: bool
    """Whether the user name of a client is its client id, whatever it chose: no other user can end its connection, and
    all that share a user end each other's."""
    plain: bool = True
    """Whether ``port`` is open, where devices come in clear text."""
    tls_port: int | None = None
    """Where they come under TLS; None: nowhere."""

    @property
    def main_port(self) -> int:
        """Return the port that devices are told if there is to be one: that in clear text, if it is open."""
        return self.port if self.plain or self.tls_port is None else self.tls_port

    @property
    def ports(self) -> Mapping[str, int]:
        """Return the ports that are open, by the key of the configuration that chooses each."""
        plain = {"broker.port": self.port} if self.plain else {}
        return plain if self.tls_port is None else plain | {"broker.tls_port": self.tls_port}


def password_file(private_hash: str, probe_hash: str, users: Users) -> str:
    """Return the password file: the appliance's own two users first, with the hashes of their passwords."""
    return f"{PRIVATE_USER}:{private_hash}\n{PROBE_USER}:{probe_hash}\n{users.passwords}"


def acl_file(users: Users) -> str:
    """Return the ACL: the appliance's user may do everything, a device and a claim user what their own name permits.

    Whatever one of them may publish, the broker keeps in its memory if it carries the retain flag. So the topics are
    spelled out: a device has three, and the lines of a claim user are its own, since a pattern holds for every user.
    The broker checks denials first; each costs a publish of that claim user about 0.2 microseconds.
    """
    return f"""# Written at every start and every change of users; changes by hand are lost.
user {PRIVATE_USER}
topic readwrite #
topic read $SYS/#

user {PROBE_USER}
topic write {PROBE_TOPIC}
topic deny tenant/#

pattern write tenant/%u/telemetry
pattern write tenant/%u/heartbeat
pattern write tenant/%u/status
pattern read tenant/%u/down/#
{users.claims}"""


def configuration(
    folder: Path,
    sockets: Path,
    program: MosquittoProgram,
    limits: BrokerLimits,
    devices: DeviceListener | None,
    *,
    debug_logging: bool = False,
) -> str:
    """Return mosquitto.conf with the private listener, and with the device listener if ``devices`` is given.

    ``debug_logging``: several log lines a message, denied topics among them.
    """
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
        *(f"log_type {kind}" for kind in LOG_TYPES),
        *(["log_type debug"] if debug_logging else []),
        # Who was refused is read from these lines (appliance.broker.refusals); what names a client id goes no further.
        "connection_messages true",
    ]
    if devices is not None:
        for port in devices.ports.values():
            lines += [f"listener {port} {devices.host}", f"max_connections {limits.max_connections}"]
            if devices.bind_client_ids:
                lines.append("use_username_as_clientid true")  # of this listener alone: our session's id is a secret
            if port == devices.tls_port:
                # The oldest version that is spoken; later ones are, too.
                lines += [f"certfile {folder / CERTIFICATE}", f"keyfile {folder / CERTIFICATE}", "tls_version tlsv1.2"]
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
        f"memory_limit {limits.memory_bytes}",
        f"sys_interval {limits.sys_seconds}",
        "upgrade_outgoing_qos true",
        "queue_qos0_messages true",
        # Nobody but us is sent retained messages, and we are to see those of users that are gone, to clear them.
        "check_retain_source false",
    ]
    if program.version < (2, 0, 12):
        # It tells MQTT 5 clients to ping more often. Later versions refuse by it MQTT 3.1.1 clients that ask for a
        # longer keep-alive, or for none.
        lines.append(f"max_keepalive {limits.max_keepalive_seconds}")
    if program.version < (2, 1, 0):  # later versions have max_packet_size alone
        lines.append(f"message_size_limit {limits.max_message_bytes}")
    return lines
