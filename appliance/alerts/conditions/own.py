"""SYSTEM alerts about this appliance: what it knows of itself, remembered from second to second.

Enters: an :class:`OwnState` a second, from functions that are handed in. Leaves: the conditions that hold, the outages
of Postgres that are over, and what customers are told. Never: a query; while Postgres is away this is all there is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from appliance.alerts.alert import AlertType
from appliance.alerts.conditions.condition import Condition
from appliance.clock import Clock
from appliance.devices.tenants import OWN_TENANT
from appliance.runtime.periodic import every
from appliance.severity import Severity

LOOK_SECONDS = 1.0
"""Seconds between two looks: by as much the times of an outage are wrong."""
LASTING_SECONDS = 10.0
"""Seconds after which something that is wrong is an alert. A restart of Postgres or the broker takes a few."""
QUIET_SECONDS = 600.0
"""Seconds without a drop after which the broker is taken to keep messages again, and without a takeover after which a
client id is not fought over any more."""
SOON_FULL = 14
"""Days until the disk is full from which on there is an alert, as on System."""
MAX_IDS_NAMED = 5
"""Client ids that an alert names; System shows more."""
MAX_USERS_NAMED = 5
"""Users that an alert names; System shows more."""
MAX_OUTAGES = 20
"""Outages of Postgres that wait to be told."""

POSTGRES = "postgres"
DISK = "disk"
TROUBLES: Mapping[str, str] = {
    "broker": "The broker of {name} is not reachable",
    "schema": "The database of {name} does not have the schema that this version needs",
    DISK: "The disk of {name} is full: messages are not stored",
    "broker_queue": "The broker of {name} cannot save its queue: if it stops, the messages that wait there are lost",
    "storing": "Messages to {name} are not stored",
    "publishing": "Devices cannot publish to {name}",
    "broker_memory": "The broker of {name} is nearly out of memory",
    "broker_session": "The broker of {name} does not keep messages for as long as it should",
}
"""The sentence for each part and deed that readiness names. Of Postgres nothing can be told while it is away."""


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """Why the clock of the machine is in doubt, and since which service time (seconds since 1970 UTC)."""

    cause: str
    since: float


@dataclass(frozen=True, slots=True)
class SharedId:
    """An MQTT client id by which devices of two tenants end each other's connections. ``users``: their broker users."""

    client_id: str
    users: tuple[str, str]
    times: int


@dataclass(frozen=True, slots=True)
class FloodingUser:
    """A user that is shut out of the broker for what it sent. ``detail`` follows its name in a sentence."""

    user: str
    detail: str
    times: int


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit on the data folder that is exceeded, while no day of readings can go. Bytes."""

    taken: int
    limit: int
    aside: bool = False
    """Whether what a restore replaced is the reason."""


@dataclass(frozen=True, slots=True)
class EndingCertificate:
    """A certificate that ends soon or has ended. ``listener``: whose it is, for people."""

    listener: str
    ends: datetime
    ended: bool


@dataclass(frozen=True, slots=True)
class MissingBackup:
    """Why there is no good backup of last night. ``since``: seconds since 1970."""

    cause: str
    since: float


@dataclass(frozen=True, slots=True)
class OwnState:
    """What the appliance knows of itself at one moment."""

    causes: Mapping[str, str]
    """What keeps it from being ready or soon may, by part or deed."""
    dropped: int | None = None
    """Messages that the broker has dropped since its start; None: not known."""
    free: int | None = None
    """Bytes of the disk of the data folder; None: not measured yet."""
    total: int | None = None
    low: bool = False
    """Whether little of it is free."""
    doubt: ClockDoubt | None = None
    shared_ids: Sequence[SharedId] = ()
    """Client ids that are fought over now."""
    flooding: Sequence[FloodingUser] = ()
    """Users that are shut out of the broker now."""
    exceeded: Exceeded | None = None
    ending: Sequence[EndingCertificate] = ()
    """Certificates that somebody has to renew."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why the files of a listener's new certificate cannot be used, by listener."""
    missing_backup: MissingBackup | None = None


@dataclass(slots=True)
class Lasting:
    """Something that is wrong. ``since`` is service time, ``began`` monotonic seconds."""

    since: datetime
    began: float
    cause: str


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which Postgres was away."""

    since: datetime
    until: datetime
    cause: str


@dataclass(slots=True)
class Drops:
    """Messages that the broker dropped, until it has dropped none for QUIET_SECONDS."""

    since: datetime
    count: int
    last: float
    """Monotonic seconds."""


@dataclass(slots=True)
class OwnConditions:
    """Remembers what is wrong with this appliance. ``name`` is that of the machine, for people."""

    instance: str
    name: str
    state: Callable[[], OwnState]
    clock: Clock
    own_broker: bool
    """Whether the broker's counters start with this process; else they are what they are at the first look."""
    outages: list[Outage] = field(default_factory=list)
    """Outages of Postgres that are over and not yet told, oldest first."""
    _lasting: dict[str, Lasting] = field(default_factory=dict)
    _drops: Drops | None = None
    _dropped: int | None = None
    _last: OwnState = field(default_factory=lambda: OwnState({}))
    _first_look: float | None = None

    @property
    def keeper(self) -> str:
        """Return the name under which its conditions are kept."""
        return f"system:{self.instance}"

    @property
    def sure(self) -> bool:
        """Return whether what does not hold is over: after a start, what lasts is seen only after a while."""
        first = self._first_look
        return first is not None and self.clock.monotonic() - first >= LASTING_SECONDS + LOOK_SECONDS

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look every second, for ever."""
        await every(LOOK_SECONDS, self._make_round, chore="own conditions", task_status=task_status)

    async def _make_round(self) -> None:
        self.look()

    def look(self) -> None:
        """Take note of what is so now."""
        state, now = self.state(), datetime.fromtimestamp(self.clock.now(), UTC)
        monotonic = self.clock.monotonic()
        if self._first_look is None:
            self._first_look = monotonic
        self._note_causes(state.causes, now, monotonic)
        self._note_drops(state.dropped, now, monotonic)
        self._last = state

    def holding(self, full_in: int | None) -> list[Condition]:
        """Return the conditions that hold. ``full_in``: days until readings fill the disk; None: it lasts."""
        monotonic = self.clock.monotonic()
        found = [
            self._condition(part, Severity.CRITICAL, TROUBLES[part], {"cause": one.cause}, one.since)
            for part, one in sorted(self._lasting.items())
            if part in TROUBLES and monotonic - one.began >= LASTING_SECONDS
        ]
        if not any(condition.fingerprint == self._fingerprint(DISK) for condition in found):
            found += self._disk(full_in)
        doubt = self._last.doubt
        if doubt is not None:
            since = datetime.fromtimestamp(doubt.since, UTC)
            found.append(
                self._condition(
                    "clock", Severity.HIGH, "The clock of {name} is in doubt", {"cause": doubt.cause}, since
                )
            )
        found += self._client_ids()
        found += self._flooding()
        found += self._budget()
        found += self._certificates()
        found += self._backup()
        drops = self._drops
        if drops is not None:
            text = "The broker of {name} dropped messages that it had acknowledged to devices"
            details = {"value": drops.count}
            found.append(self._condition("dropped", Severity.CRITICAL, text, details, drops.since, drops.count))
        return found

    def outage_condition(self, outage: Outage) -> Condition:
        """Return what is told of an outage of Postgres that is over."""
        details = {"cause": outage.cause, "since": outage.since.isoformat(), "until": outage.until.isoformat()}
        lasted = _duration((outage.until - outage.since).total_seconds())
        text = f"Postgres was away from {{name}} for {lasted}"
        return self._condition(POSTGRES, Severity.HIGH, text, details, outage.since)

    def told(self, outages: Sequence[Outage]) -> None:
        """Take note that outages were told."""
        self.outages = [one for one in self.outages if one not in outages]

    def affected(self) -> list[str]:
        """Return what customers are told: what is wrong with the appliance and affects their readings."""
        if self._drops is None:
            return []
        messages = "1 message" if self._drops.count == 1 else f"{self._drops.count:,} messages"
        return [f"The broker of this appliance had no room for {messages} of devices: readings may be missing."]

    def _note_causes(self, causes: Mapping[str, str], now: datetime, monotonic: float) -> None:
        for part, cause in causes.items():
            known = self._lasting.setdefault(part, Lasting(now, monotonic, cause))
            known.cause = cause
        # What is not told while Postgres is away is not known to be over.
        over = [part for part in self._lasting if part not in causes and (part == POSTGRES or POSTGRES not in causes)]
        for part in over:
            one = self._lasting.pop(part)
            if part == POSTGRES and monotonic - one.began >= LASTING_SECONDS:
                self.outages = [*self.outages, Outage(one.since, max(now, one.since), one.cause)][-MAX_OUTAGES:]

    def _note_drops(self, dropped: int | None, now: datetime, monotonic: float) -> None:
        before = self._dropped
        if dropped is not None:
            if before is None:
                before = 0 if self.own_broker else dropped
            new = dropped - before if dropped >= before else dropped  # less: the broker has started anew
            self._dropped = dropped
            if new:
                drops = self._drops or Drops(now, 0, monotonic)
                drops.count, drops.last = drops.count + new, monotonic
                self._drops = drops
        if self._drops is not None and monotonic - self._drops.last >= QUIET_SECONDS:
            self._drops = None

    def _disk(self, full_in: int | None) -> list[Condition]:
        if self._last.low:
            details = {"free_bytes": self._last.free, "total_bytes": self._last.total}
            return [self._condition(DISK, Severity.CRITICAL, "The disk of {name} is nearly full", details)]
        if full_in is None or full_in > SOON_FULL:
            return []
        days = "1 day" if full_in == 1 else f"{full_in} days"
        when = f"is full in {days}" if full_in else "is full today"
        text = f"The disk of {{name}} {when}, if readings go on as before"
        return [self._condition(DISK, Severity.HIGH, text, {"full_in_days": full_in})]

    def _budget(self) -> list[Condition]:
        exceeded = self._last.exceeded
        if exceeded is None:
            return []
        text = "The data of {name} takes more than retention.max_bytes, and no day of readings can go"
        if exceeded.aside:
            text = "The data of {name} takes more than retention.max_bytes, with what a restore replaced"
        details = {"taken_bytes": exceeded.taken, "limit_bytes": exceeded.limit}
        return [self._condition("budget", Severity.HIGH, text, details)]

    def _fingerprint(self, key: str) -> str:
        return f"system:{key}:{self.instance}"

    def _client_ids(self) -> list[Condition]:
        shared = self._last.shared_ids
        if not shared:
            return []
        named = [
            {"client_id": one.client_id, "users": list(one.users), "times": one.times} for one in shared[:MAX_IDS_NAMED]
        ]
        text = "On {name}, devices of two tenants use the same client id and end each other's connection"
        return [self._condition("client_ids", Severity.HIGH, text, {"client_ids": named}, count=len(shared))]

    def _flooding(self) -> list[Condition]:
        users = self._last.flooding
        if not users:
            return []
        named = [{"user": one.user, "detail": one.detail, "times": one.times} for one in users[:MAX_USERS_NAMED]]
        text = "A user is shut out of the broker of {name} for a while: its messages would have stopped it for others"
        return [self._condition("floods", Severity.HIGH, text, {"users": named}, count=len(users))]

    def _certificates(self) -> list[Condition]:
        found = []
        for one in self._last.ending:
            text = f"The certificate of the {one.listener} of {{name}} {'has ended' if one.ended else 'ends soon'}"
            severity = Severity.CRITICAL if one.ended else Severity.HIGH
            details = {"listener": one.listener, "ends": one.ends.isoformat()}
            found.append(self._condition(f"certificate:{one.listener}", severity, text, details))
        for listener, cause in sorted(self._last.unusable.items()):
            text = f"The {listener} of {{name}} keeps its certificate: the new one cannot be used"
            details = {"listener": listener, "cause": cause}
            found.append(self._condition(f"certificate_files:{listener}", Severity.HIGH, text, details))
        return found

    def _backup(self) -> list[Condition]:
        missing = self._last.missing_backup
        if missing is None:
            return []
        since = datetime.fromtimestamp(missing.since, UTC)
        text = "There is no new backup of {name}"
        return [self._condition("backup", Severity.HIGH, text, {"cause": missing.cause}, since)]

    def _condition(
        self,
        key: str,
        severity: Severity,
        text: str,
        details: Mapping[str, object],
        since: datetime | None = None,
        count: int = 1,
    ) -> Condition:
        fingerprint = self._fingerprint(key)
        summary = text.format(name=self.name)
        about = {"appliance": self.name, **details}
        return Condition(
            OWN_TENANT, fingerprint, AlertType.SYSTEM, severity, summary, about, count=count, started_at=since
        )


def _duration(seconds: float) -> str:
    """``12 seconds``, ``3 minutes``, ``2 hours``."""
    for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            number = round(seconds / size)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "less than a second"
