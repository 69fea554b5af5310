"""Windows as the tests make them."""

from datetime import UTC, date, datetime, time
from uuid import UUID

from appliance.alerts.maintenance.window import Coverage, Once, Schedule, Weekday, Weekly, Window

MADE = datetime(2026, 1, 1, tzinfo=UTC)
EVERY_DAY = " ".join(Weekday)


def once(starts: str, ends: str) -> Once:
    return Once(datetime.fromisoformat(starts), datetime.fromisoformat(ends))


def weekly(days: str, start: str, length: int, until: str | None = None) -> Weekly:
    last = None if until is None else date.fromisoformat(until)
    return Weekly(frozenset(map(Weekday, days.split())), time.fromisoformat(start), length, last)


def window(
    schedule: Schedule,
    time_zone: str = "Europe/Oslo",
    *,
    ended_at: float | None = None,
    coverage: Coverage | None = None,
    tenant_id: str = "acme",
    window_id: UUID | None = None,
) -> Window:
    return Window(
        tenant_id, window_id or UUID(int=1), "Cleaning", "", coverage or Coverage(), schedule, time_zone, ended_at,
        MADE, "ada@example.com", MADE,
    )  # fmt: skip
