"""The check of time zones: those that are stored can be reckoned with on this machine."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance import zones
from appliance.db import statements
from appliance.doctor.check import Finding, Sight, advised, broken

STATEMENTS = statements.load("doctor")


@dataclass(frozen=True, slots=True)
class StoredZone:
    """A time zone, and of how many tenants, sites, people, windows and routes it is."""

    name: str
    uses: int


async def look_at_zones(sight: Sight) -> Sequence[StoredZone]:
    """Return the zones that are stored."""
    cursor = await sight.database.execute(STATEMENTS["stored_zones"])
    return [StoredZone(*row) for row in await cursor.fetchall()]


def judge_zones(stored: Sequence[StoredZone]) -> Iterable[Finding]:
    """Judge whether this machine knows each of them, by its present name."""
    for each in stored:
        present = zones.name_of(each.name)
        if present is None:
            yield broken(
                f"the time zone {each.name} is unknown to this machine, which reckons with its own instead; "
                f"uses: {each.uses}",
                "install the system's time zones (`apt-get install tzdata`), or choose another zone",
            )
        elif present != each.name:
            yield advised(
                f"the time zone {each.name} is called {present} now; uses: {each.uses}",
                "restart the appliance, which stores zones by their present names",
            )
