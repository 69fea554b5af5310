"""Checks of the schema: migrations, partitions, and the constraints and triggers that promises stand on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from appliance.counted import counted
from appliance.db import statements
from appliance.db.collations import ChangedCollation, changed
from appliance.db.migrations import Applied, outstanding, read_applied, shipped
from appliance.db.partitions import read_days
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken
from appliance.errors import ApplianceError
from appliance.ingest.telemetry.partitions import DAYS_AHEAD

STATEMENTS = statements.load("doctor")

GUARDS: Mapping[str, str] = {
    "ingest_ledger_balanced": "P1: the accounting balances",
    "telemetry_pkey": "P3: a message is stored once",
    "device_registry_pkey": "P6: one device, one row",
    "device_registry_active_has_seat": "P7: an active device has a seat",
    "subscriptions_seats_within_limit": "P7: the limit of seats holds",
    "seats_taken": "P7: seats are counted",
    "seats_freed": "P7: seats are counted",
    "seats_changed": "P7: seats are counted",
    "seats_guard_update": "P7: the count of seats is never written by hand",
    "seats_guard_insert": "P7: the count of seats is never written by hand",
    "subscriptions_one_main": "P7: one main subscription a tenant",
    "fleet_alert_one_open": "P13: one open alert a fingerprint",
    "alert_events_write_jobs": "P12: notices are written with their alert",
    "tenants_tell_registry_update": "P23: a change of a tenant reaches every process",
    "subscriptions_tell_registry_update": "P23: a change of a subscription reaches every process",
    "device_registry_tell_registry_update": "P23: a change of a device reaches every process",
}
"""Constraints, unique indexes and triggers by name, with what they hold."""
RESTORE = "restore the database from a backup, or make it again as the migration in sql/migrations that names it has it"


@dataclass(frozen=True, slots=True)
class Steps:
    """Which migrations were applied, and what is wrong with them."""

    pending: Sequence[str]
    fault: str | None


async def look_at_migrations(sight: Sight) -> Sequence[Applied]:
    """Return the migrations that were applied to the database."""
    return await read_applied(sight.database)


def judge_migrations(applied: Sequence[Applied]) -> Iterable[Finding]:
    """Judge whether all migrations of this program were applied, and none was changed since."""
    try:
        pending = outstanding(shipped(), applied)
    except ApplianceError as error:
        yield broken(str(error), "use the version of the program that made this schema, or a newer one")
        return
    if pending:
        names = ", ".join(step.file_name for step in pending[:3]) + (", ..." if len(pending) > 3 else "")
        which = counted(len(pending), "migration was", "migrations were")
        yield broken(f"{which} not applied: {names}", "run `appliance migrate`")


@dataclass(frozen=True, slots=True)
class Days:
    """The days that should have a partition, and those that have."""

    first: date
    last: date
    there: frozenset[date]

    @property
    def missing(self) -> list[date]:
        """Return the days without a partition, the first of them first.

        Not those before the oldest that is there: they have gone to make room, and are made anew within the hour.
        """
        today = self.last - timedelta(days=DAYS_AHEAD)
        first = min(max(self.first, min(self.there, default=self.first)), today)
        wanted = [first + timedelta(days=n) for n in range((self.last - first).days + 1)]
        return [day for day in wanted if day not in self.there]


async def look_at_partitions(sight: Sight) -> Days:
    """Return the days of telemetry. Raises UnseenError while it is in doubt which day it is."""
    connection = sight.database
    if not sight.clock.trusted:
        raise UnseenError("the clock is in doubt, and so which day it is: see clock")
    today = datetime.fromtimestamp(sight.clock.now(), UTC).date()
    first = today - timedelta(days=sight.config.retention.days)
    there = frozenset(each.day for each in await read_days(connection))
    return Days(first, today + timedelta(days=DAYS_AHEAD), there)


def judge_partitions(days: Days) -> Iterable[Finding]:
    """Judge whether the days to come have a partition: the writer makes a missing one, at the price of a slow batch."""
    if missing := days.missing:
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        yield advised(
            f"{counted(len(missing), 'day has', 'days have')} no partition: {shown}",
            "start the appliance, which makes them, or run `appliance doctor --mend`",
        )


async def look_at_collations(sight: Sight) -> Sequence[ChangedCollation]:
    """Return the collations that sort otherwise than when the indexes were built."""
    return await changed(sight.database)


def judge_collations(collations: Sequence[ChangedCollation]) -> Iterable[Finding]:
    """Judge whether text sorts as the indexes were built: one of another order misses rows, and takes some twice."""
    for each in collations:
        indexes = ", ".join(each.indexes) or "no index of the appliance"
        mend = "`appliance doctor --mend`, which builds them anew"
        if each.name is not None:
            mend = f"as a superuser: REINDEX INDEX of each; ALTER COLLATION {each.name} REFRESH VERSION;"
        yield broken(f"{each.text}, with another order of text; on it depend {indexes}", mend)


@dataclass(frozen=True, slots=True)
class Guard:
    """A constraint, a unique index or a trigger."""

    name: str
    table: str
    kind: str
    active: bool
    """Whether it is enforced: valid, and enabled."""


async def look_at_guards(sight: Sight) -> Sequence[Guard]:
    """Return the constraints, unique indexes and triggers of the schema."""
    cursor = await sight.database.execute(STATEMENTS["guards"])
    return [Guard(*row) for row in await cursor.fetchall()]


def judge_guards(guards: Sequence[Guard]) -> Iterable[Finding]:
    """Judge whether what the database itself has to enforce is there and enforced."""
    there = {guard.name for guard in guards}
    for name, promise in GUARDS.items():
        if name not in there:
            yield broken(f"{name} is missing ({promise})", RESTORE)
    for guard in guards:
        # migrations add some constraints to large tables without judging the rows that are there
        if not guard.active and (guard.kind != "constraint" or guard.name in GUARDS):
            yield broken(f"the {guard.kind} {guard.name} of {guard.table} is not enforced", _activation(guard))


def _activation(guard: Guard) -> str:
    match guard.kind:
        case "trigger":
            return f"as a superuser: ALTER TABLE {guard.table} ENABLE TRIGGER {guard.name};"
        case "constraint":
            return f"as a superuser: ALTER TABLE {guard.table} VALIDATE CONSTRAINT {guard.name};"
    return f"as a superuser: REINDEX INDEX {guard.name};"
