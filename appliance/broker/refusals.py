"""What the broker refuses, read from its log: MQTT 3.1.1 does not tell the device, and no refused message reaches us.

Enters: every line the embedded broker prints. Leaves: the last refusals, counted by cause. Never: a line that costs
the message path.

What it sees, with Mosquitto 2.0 (2.1 adds the address to every line):

- Refused connections, always: wrong user or password, no user, too many connections, no proper MQTT, and failed
  handshakes of TLS with their reason. The log has the address, not the user that was tried; when several callers arrive
  at the same moment, not even the address is sure, and is left out.
- Denied topics, and messages beyond the broker's size limit: only with debug logging (``log_type debug``), which is
  several lines a message. It stays on up to ``FLOOD`` lines within a second, about 500 messages a second. Beyond that
  it is turned off at once, and on again after a minute or more, the longer the busier the broker was. So with little
  traffic every denied topic is seen; with much, a sample; at 50,000 messages a second one moment in ten minutes. A
  device that keeps publishing to a denied topic is found eventually; one that did it once may not be.

MQTT 5 devices get the refusal themselves (PUBACK 0x87).
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

import trio

from appliance.broker.accounts import PRIVATE_USER
from appliance.clock import Clock
from appliance.metrics import Metrics
from appliance.reading import Kind
from appliance.runtime.activity import activity

MAX_REFUSALS = 1000
"""Number of different refusals that are kept."""
MAX_CLIENTS = 20_000
MAX_CONNECTING = 1000
CONNECTING_SECONDS = 30.0
"""Seconds after which a connection without a client id is forgotten."""
FLOOD = 2000
"""Lines within a second that turn debug logging off."""
QUIET_SECONDS = 60.0
MAX_QUIET_SECONDS = 600.0

CONNECTED = re.compile(
    r"New connection from (?P<host>\S*):(?P<port>\d+) on port|New connection from (?P<local>\S*) on port"
)
ACCEPTED = re.compile(
    r"New client connected from (?P<host>\S*):(?P<port>\d+) as (?P<id>.*) \(p\d+, c\d, k\d+(?:, u'(?P<user>.*)')?\)\.$"
)
LEAVES = ("Client ", "Bad socket read/write on client ")
LEFT = re.compile(r"(?=(?: \[(?P<peer>\S*):\d+\])?(?: (?P<how>(?:been )?disconnected\b.*|closed .*|has .*)|: .*)$)")
"""What may stand behind the client id in such a line, at every place where it may begin."""
ANSWERED = re.compile(r"Sending CONNACK to (?P<host>.*) \(\d+, (?P<code>\d+)\)$")
PUBLISHED = re.compile(r"(?= \(d\d, q\d, r\d, m\d+, '(?P<topic>.*)', \.\.\. \(\d+ bytes\)\)$)")
"""The same for messages that were not taken."""
MAX_READINGS = 8
"""Ways to read a line up to which one is looked for: a client id may look like the end of many."""
TOO_MANY_CONNECTIONS = re.compile(r"Client connection from (?P<host>\S+) denied: max_connections exceeded")
_REASON = r"error:[0-9A-Fa-f]+:SSL routines:[^:]*:(?P<reason>.*?)\.?$"
TLS_FAILURE = re.compile(rf"OpenSSL Error\[\d+\]: {_REASON}")
TLS_FAILURE_AT_ONCE = re.compile(rf"Client connection from (?P<host>\S+) failed: {_REASON}")
"""The same where the client has sent before the broker has accepted it; no other line follows."""
TLS_HINTS = (
    (
        ("unknown ca", "bad certificate", "certificate unknown"),
        "it refuses the broker's certificate: give it the CA of the appliance, and a name or address that is in it",
    ),
    (("certificate expired",), "it takes the certificate of the broker for expired: set its clock before it connects"),
    (
        ("wrong version number", "http request"),
        "it speaks no TLS on the port for TLS: switch TLS on in it, or change its port",
    ),
    (("unsupported protocol", "unknown protocol", "version too low"), "its TLS is older than 1.2: renew its software"),
    (("no shared cipher",), "it has no way of encryption in common with the broker: renew its software"),
)
"""What a person can do about a handshake that fails, by the words of OpenSSL."""
UNKNOWN_CLIENT = "<unknown>"
KINDS = frozenset(kind.value for kind in Kind)


class RefusalCause(StrEnum):
    """Why the broker refused; the values are labels of the metric."""

    SIGN_IN = "sign_in"
    """Wrong user or password, or none."""
    TOPIC = "topic"
    """Not a topic this user may publish to."""
    TOO_LARGE = "too_large"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    PROTOCOL = "protocol"
    """The bytes received were no valid MQTT."""
    CLIENT_ID = "client_id"
    """Two clients use one client id, and end each other's connection (:mod:`appliance.broker.client_ids`)."""


DISCONNECT_CAUSES = (
    ("not authorised", RefusalCause.SIGN_IN),
    ("malformed packet", RefusalCause.PROTOCOL),
    ("protocol error", RefusalCause.PROTOCOL),
    ("oversize", RefusalCause.TOO_LARGE),
)
"""Texts in a "Client ... disconnected" line that make it a refusal."""
UNTAKEN = (("Denied PUBLISH from ", RefusalCause.TOPIC), ("Dropped too large PUBLISH from ", RefusalCause.TOO_LARGE))


@dataclass(frozen=True, slots=True)
class BrokerRefusal:
    """One refusal, and how often it has happened; what the broker did not log is None."""

    cause: RefusalCause
    at: float
    """The last time, in seconds since 1970."""
    address: str | None = None
    client_id: str | None = None
    username: str | None = None
    topic: str | None = None
    times: int = 1
    rival: str | None = None
    """The user of the other client with the same client id; None if it is another tenant's, who must not be named."""
    shut_out: bool = False
    """Whether the broker refuses the user for a while, because it took the client id of another."""
    tls: str | None = None
    """Why the handshake of TLS failed, in the words of OpenSSL; None: it did not, or that is not known."""

    @property
    def tenant_id(self) -> str | None:
        """The tenant: from the user, which is authenticated, else from the topic."""
        return self._named()[0]

    @property
    def device_id(self) -> str | None:
        """The device, if the user or the topic names one."""
        return self._named()[1]

    def _named(self) -> tuple[str | None, str | None]:
        user = (self.username or "").split("/")
        if len(user) == 3:
            return user[0], user[2]
        topic = (self.topic or "").split("/")
        device = topic[3] if len(topic) > 3 and topic[2] == "device" else None
        if self.cause is RefusalCause.CLIENT_ID and self.client_id:
            device = self.client_id.removeprefix(f"{self.username}/device/")  # of the claim user: many devices do so
        return self.username or (topic[1] if len(topic) > 1 else None), device

    def hint(self) -> str | None:
        """Return what a person can do about it, or None."""
        match self.cause:
            case RefusalCause.TOPIC if self.username is not None and "/" in self.username:
                return f"publishes to `{self.topic}`, should be `tenant/{self.username}/telemetry`"
            case RefusalCause.TOPIC if self.username is not None:
                levels = (self.topic or "").split("/")
                if levels[:3] == ["tenant", self.username, "device"] and len(levels) == 5 and levels[4] in KINDS:
                    return "this device has its own credential; it can no longer use the claim user"
                return f"publishes to `{self.topic}`, should be `tenant/{self.username}/device/DEVICE/telemetry`"
            case RefusalCause.SIGN_IN:
                return "wrong user or password; a device's user is `TENANT/device/DEVICE`"
            case RefusalCause.PROTOCOL if self.tls is not None:
                return tls_hint(self.tls)
            case RefusalCause.CLIENT_ID:
                return self._client_id_hint()
        return None

    def _client_id_hint(self) -> str:
        if self.shut_out:
            return (
                f"took the client id `{self.client_id}`, which is the name of another user, again and again: its "
                "sign-in is refused for ten minutes. Leave the client id empty, or use its own user name"
            )
        if self.rival is None:
            who = "a client of another tenant uses"
        elif self.rival == self.username:
            return (
                f"two clients with this user use the client id `{self.client_id}` and end each other's connection, or "
                "its link breaks again and again. Give each device its own credential, and leave the client id empty"
            )
        else:
            who = f"`{self.rival}` uses"
        return (
            f"{who} the client id `{self.client_id}`, too, and they end each other's connection. "
            "Leave the client id empty, or use the user name"
        )


def tls_hint(reason: str) -> str | None:
    """Return what a person can do about a handshake that failed for ``reason``; None if that is not known."""
    return next((hint for words, hint in TLS_HINTS if any(word in reason for word in words)), None)


@dataclass(frozen=True, slots=True)
class _Client:
    address: str
    username: str | None


class RefusalLogReader:
    """Parses log lines into refusals; ``at`` is the time of a line in seconds since 1970."""

    def __init__(self) -> None:
        self._arriving: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._refused_host: str | None = None
        self._private_names = {""}
        """What the broker calls callers on the private socket."""
        self._tls_failure: str | None = None
        """Why a handshake has just failed: its connection is closed by the next line."""

    def read(self, line: str, at: float) -> BrokerRefusal | None:
        """Return the refusal that a line reports, or None."""
        # With debug logging most lines are about messages: their first letter is enough to skip them.
        match line[:1]:
            case "N":
                self._arrives(line, at)
            case "S":
                if (found := ANSWERED.match(line)) is not None:
                    self._refused_host = self._host_of(found["host"]) if found["code"] != "0" else None
            case "D":
                return self._denied(line, at)
            case "C" | "B":
                failure, self._tls_failure = self._tls_failure, None
                return self._leaves(line, at, failure)
            case "O":
                found = TLS_FAILURE.match(line)
                self._tls_failure = None if found is None or tls_hint(found["reason"]) is None else found["reason"]
        return None

    def _arrives(self, line: str, at: float) -> None:
        if (found := ACCEPTED.match(line)) is not None:
            self._arriving.pop((self._host_of(found["host"]), int(found["port"])), None)
            if found["user"] != PRIVATE_USER:
                self._clients[found["id"]] = _Client(found["host"], found["user"])
                self._clients.move_to_end(found["id"])
                if len(self._clients) > MAX_CLIENTS:
                    self._clients.popitem(last=False)
        elif (found := CONNECTED.match(line)) is not None:
            port = int(found["port"] or 0)
            if port == 0:  # no TCP port, so a caller on the private socket
                self._private_names = {"", found["host"] or found["local"] or ""}
            self._arriving[self._host_of(found["host"] or found["local"] or ""), port] = at
            while len(self._arriving) > MAX_CONNECTING or next(iter(self._arriving.values())) < at - CONNECTING_SECONDS:
                self._arriving.popitem(last=False)

    def _denied(self, line: str, at: float) -> BrokerRefusal | None:
        for start, cause in UNTAKEN:
            if line.startswith(start) and (told := self._read(line[len(start) :], PUBLISHED)) is not None:
                client_id, found = told
                client = self._clients.get(client_id)
                address, username = (None, None) if client is None else (client.address, client.username)
                return BrokerRefusal(cause, at, address, client_id, username, found["topic"])
        return None

    def _leaves(self, line: str, at: float, tls_failure: str | None) -> BrokerRefusal | None:
        if (found := TOO_MANY_CONNECTIONS.match(line)) is not None:
            return BrokerRefusal(RefusalCause.TOO_MANY_CONNECTIONS, at, found["host"])
        if (found := TLS_FAILURE_AT_ONCE.match(line)) is not None and tls_hint(found["reason"]) is not None:
            return BrokerRefusal(RefusalCause.PROTOCOL, at, found["host"], tls=found["reason"])
        start = next((one for one in LEAVES if line.startswith(one)), None)
        if start is None or (told := self._read(line[len(start) :], LEFT)) is None:
            return None
        client_id, found = told
        cause = next((cause for words, cause in DISCONNECT_CAUSES if words in (found["how"] or "")), None)
        if client_id == UNKNOWN_CLIENT:
            nameless = self._nameless_leaves()
            address = nameless if found["peer"] is None else self._host_of(found["peer"])
            cause = cause if tls_failure is None else RefusalCause.PROTOCOL
            return None if cause is None or address == "" else BrokerRefusal(cause, at, address, tls=tls_failure)
        client = self._clients.pop(client_id, None)
        if cause is None or client is None:
            return None
        return BrokerRefusal(cause, at, client.address, client_id, client.username)

    def _host_of(self, name: str) -> str:
        """Return the address that a line names, "" for the private socket.

        Mosquitto 2.0.11 puts whatever its memory holds there in place of an address, the path of the socket mostly.
        """
        return "" if name in self._private_names else name

    def _read(self, told: str, end: re.Pattern[str]) -> tuple[str, re.Match[str]] | None:
        """Return the client id that ``told`` begins with, and what ``end`` finds behind it.

        A client id may look like the end of a line, to speak of another client. So the longest id that is connected
        holds, else the shortest.
        """
        readings = [(told[: found.start()], found) for found in islice(end.finditer(told), MAX_READINGS + 1)]
        if len(readings) > MAX_READINGS:
            return None
        return next((one for one in reversed(readings) if one[0] in self._clients), readings[0] if readings else None)

    def _nameless_leaves(self) -> str | None:
        """Return the address of a connection without client id: "" is the private socket, None one of several."""
        refused_host, self._refused_host = self._refused_host, None
        hosts = {host for host, _ in self._arriving}
        if refused_host is None and len(hosts) == 1:
            (refused_host,) = hosts
        key = next((key for key in reversed(self._arriving) if refused_host in (None, key[0])), None)
        if key is not None:
            del self._arriving[key]
        return refused_host


class BrokerRefusals:
    """Keeps the refusals, and decides when debug logging is on."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.debug_logging = True
        """Whether the broker is to log several lines a message."""
        self._clock = clock
        self._metrics = metrics
        self._log = RefusalLogReader()
        self._kept: OrderedDict[tuple[object, ...], BrokerRefusal] = OrderedDict()
        self._counts: Counter[RefusalCause] = Counter()
        self._second = 0.0
        self._lines = 0
        self._flooded = trio.Event()
        self._quiet = QUIET_SECONDS

    def heard(self, line: str) -> None:
        """Handle one line of the broker's log."""
        self._count_line()
        refused = self._log.read(line, self._clock.now())
        if refused is not None:
            self.add(refused)

    def add(self, refused: BrokerRefusal) -> None:
        """Count a refusal and keep it."""
        self._counts[refused.cause] += 1
        self._metrics.broker_refusals.labels(refused.cause.value).inc()
        self._keep(refused)

    def refusals(self, tenant: str | None = None, device: str | None = None) -> list[BrokerRefusal]:
        """Return the last refusals, newest first: all, those of one tenant, or those of one device of it.

        A refused connection names neither tenant nor device, and is shown to operators only.
        """
        return [
            one
            for one in reversed(self._kept.values())
            if tenant in (None, one.tenant_id) and device in (None, one.device_id)
        ]

    def counts(self) -> Mapping[RefusalCause, int]:
        """Return how often each cause was seen since the start of the process."""
        return dict(self._counts)

    async def run(
        self,
        request_debug_logging: Callable[[bool], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Turn debug logging off when there is too much of it, and on again later; until cancelled."""
        task_status.started()
        while True:
            activity().doing("reads the broker's log, denied topics included")
            await self._flooded.wait()
            request_debug_logging(False)
            activity().doing("too much traffic to read denied topics; will try again")
            await trio.sleep(self._quiet)
            self._flooded = trio.Event()
            self.debug_logging = True
            request_debug_logging(True)

    def _count_line(self) -> None:
        now = self._clock.monotonic()
        if now - self._second >= 1.0:
            self._second, self._lines = now, 0
        self._lines += 1
        if self._lines > FLOOD and self.debug_logging:
            # Long enough that the average is FLOOD lines a minute.
            rate = self._lines / max(now - self._second, 0.01)
            self._quiet = min(max(QUIET_SECONDS * rate / FLOOD, QUIET_SECONDS), MAX_QUIET_SECONDS)
            self.debug_logging = False
            self._flooded.set()

    def _keep(self, refused: BrokerRefusal) -> None:
        """Keep one entry for all alike, so that a single device that retries for ever does not push out the others."""
        who = refused.username or refused.client_id  # a client id may be another one each time
        kind = (refused.cause, refused.address, who, refused.topic, refused.rival, refused.tls)
        before = self._kept.pop(kind, None)
        self._kept[kind] = refused if before is None else replace(refused, times=before.times + 1)
        if len(self._kept) > MAX_REFUSALS:
            self._kept.popitem(last=False)
