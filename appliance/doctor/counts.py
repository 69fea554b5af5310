"""Checks of what is stored: the accounting of messages, seats, devices, alerts and notices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from appliance import __version__
from appliance.counted import counted
from appliance.db import statements
from appliance.doctor.check import Finding, Sight, UnseenError, advised, broken
from appliance.peers import store as peers
from appliance.peers.store import Peer

STATEMENTS = statements.load("doctor")

SHOWN = 5
"""Findings of one check at most; their number is told."""
TELL = "do not correct it by hand: keep a backup of the database as it is, and report what was found"


@dataclass(frozen=True, slots=True)
class Account:
    """Messages of one instance, over all its minutes, with the number of minutes that do not balance."""

    instance: str
    received: int
    stored: int
    refused: int
    duplicate: int
    cleared: int
    wrong_minutes: int


async def look_at_ledger(sight: Sight) -> Sequence[Account]:
    """Return the accounting of each instance."""
    cursor = await sight.database.execute(STATEMENTS["accounts"])
    return [Account(*row) for row in await cursor.fetchall()]


def judge_ledger(accounts: Sequence[Account]) -> Iterable[Finding]:
    """Judge whether every message that was received is accounted for."""
    for each in accounts:
        if each.wrong_minutes:
            placed = each.stored + each.refused + each.duplicate + each.cleared
            span = counted(each.wrong_minutes, "minute")
            yield broken(
                f"the accounting of the appliance {each.instance} does not balance in {span}: "
                f"{each.received} received, {placed} stored, refused, duplicate or cleared",
                TELL,
            )


@dataclass(frozen=True, slots=True)
class Seats:
    """A subscription whose count is not that of its active devices, or is above its limit."""

    tenant: str
    subscription: str
    counted: int
    active: int
    limit: int


async def look_at_seats(sight: Sight) -> Sequence[Seats]:
    """Return the subscriptions whose seats are wrong."""
    cursor = await sight.database.execute(STATEMENTS["wrong_seats"])
    return [Seats(*row) for row in await cursor.fetchall()]


def judge_seats(wrong: Sequence[Seats]) -> Iterable[Finding]:
    """Judge the seats: none but the wrong ones are handed in."""
    for each in wrong[:SHOWN]:
        which = f"subscription {each.subscription} of tenant {each.tenant}"
        if each.counted != each.active:
            active = counted(each.active, "is", "are")
            yield broken(f"{which} counts {counted(each.counted, 'device')}, {active} active", TELL)
        if each.active > each.limit:
            yield broken(
                f"{which} has {counted(each.active, 'active device')}, its limit is {each.limit}",
                "raise the limit (`appliance subscription set`), or deactivate devices",
            )
    yield from _more(wrong)


@dataclass(frozen=True, slots=True)
class Twice:
    """Something that is there more than once."""

    what: str
    tenant: str
    key: str
    times: int


async def look_at_devices(sight: Sight) -> Sequence[Twice]:
    """Return the devices that are registered more than once."""
    return await _twice(sight, "devices_twice")


async def look_at_alerts(sight: Sight) -> Sequence[Twice]:
    """Return the fingerprints with more than one open alert."""
    return await _twice(sight, "alerts_twice")


async def _twice(sight: Sight, statement: str) -> Sequence[Twice]:
    # an index that lost its rows would hide what is there twice
    async with sight.database.transaction():
        await sight.database.execute(STATEMENTS["read_tables_only"])
        cursor = await sight.database.execute(STATEMENTS[statement])
        return [Twice(*row) for row in await cursor.fetchall()]


def judge_once(twice: Sequence[Twice]) -> Iterable[Finding]:
    """Judge that nothing is there twice: what is, is handed in."""
    for each in twice[:SHOWN]:
        yield broken(f"{each.what} {each.key} of tenant {each.tenant} is there {each.times} times", TELL)
    yield from _more(twice)


def _more(found: Sequence[object]) -> Iterable[Finding]:
    if len(found) > SHOWN:
        yield broken(f"{len(found) - SHOWN} more like these", TELL)


async def look_at_peers(sight: Sight) -> Sequence[Peer]:
    """Return the appliances on the database. Raises UnseenError while it is in doubt what time it is."""
    connection = sight.database
    if not sight.clock.trusted:
        raise UnseenError("the clock is in doubt, and so who is away: see clock")
    return await peers.list_all(connection, datetime.fromtimestamp(sight.clock.now(), UTC))


def judge_peers(found: Sequence[Peer]) -> Iterable[Finding]:
    """Judge whether every appliance on the database listens to its devices, and is of one version with the others."""
    for each in found:
        if each.away and len(found) > 1:
            yield advised(
                f"the appliance {each.title} ({each.instance}) does not listen to its devices",
                f"start it, or remove it for good: `appliance peer remove {each.instance}`",
            )
        elif not each.away and each.version not in {None, __version__}:
            yield advised(
                f"the appliance {each.title} ({each.instance}) is version {each.version}, this one {__version__}",
                "give all of them the same version: docs/upgrading.md has the order",
            )
