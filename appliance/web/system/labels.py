"""Sentences of the System page: about Postgres, the broker, what an acknowledgement guarantees, and the disk."""

from appliance.broker.room import BrokerRoom
from appliance.counted import counted
from appliance.diagnostics.latency import Percentiles
from appliance.diagnostics.snapshot import BrokerTerms, Dependency
from appliance.ingest.telemetry.budget import Source
from appliance.ingest.telemetry.disk_outlook import DiskOutlook
from appliance.ingest.telemetry.expiry import Wait
from appliance.runtime.activity import in_words
from appliance.watchdog.proof import Part
from appliance.watchdog.watchdog import EndToEnd
from appliance.web.page import formats
from appliance.web.system.reader import SystemView
from appliance.web.system.retention import Budget, RetentionView, WaitingDay


def dependency_text(dependency: Dependency, view: SystemView) -> str:
    """Return one line about Postgres or the broker."""
    parts = [dependency.version or "version unknown"]
    if dependency.name == "Postgres":
        if view.database is not None:
            parts = [
                view.database.version,
                f"{view.database.connections} of {counted(view.database.max_connections, 'connection')}",
            ]
        if view.commit is not None:
            parts.append(f"commit in {formats.milliseconds(view.commit.median)} ms")
    else:
        if dependency.connected is not None:
            parts.append(f"{formats.count(dependency.connected)} connected")
        if dependency.dropped is not None:
            parts.append(
                f"{counted(dependency.dropped, 'message')} dropped" if dependency.dropped else "nothing dropped"
            )
    if dependency.room is not None:
        parts += _room(dependency.room)
    if dependency.restarts:
        parts.append(f"restarted {'once' if dependency.restarts == 1 else f'{dependency.restarts} times'}")
    return ", ".join(parts)


def _room(room: BrokerRoom) -> list[str]:
    """Return what the broker takes of memory and disk, as far as it is known."""
    parts = []
    if room.allocated is not None:
        most = "" if room.limit is None else f" of {formats.size(room.limit)}"
        parts.append(f"{formats.size(room.allocated)}{most} allocated")
    if room.resident is not None:
        parts.append(f"{formats.size(room.resident)} resident")
    if room.store is not None:
        parts.append(f"{formats.size(room.store)} on disk")
    if room.retained is not None:
        parts.append(f"{formats.count(room.retained)} retained messages")
    return parts


def promise(terms: BrokerTerms | None, latency: Percentiles | None) -> str:
    """Return what an acknowledgement guarantees to a device."""
    if terms is None:
        return (
            "The broker is external: its own settings decide what its acknowledgement to a device means."
            " The appliance acknowledges each message to it after the commit."
        )
    if terms.saves_every is None:
        return (
            "A device is acknowledged by the broker once its message is on disk there. The appliance acknowledges it"
            " to the broker after the commit, which deletes the message only then. Nothing acknowledged is lost, not"
            " even when power fails."
        )
    gap = (
        "as soon as a batch is committed"
        if latency is None
        else f"{formats.milliseconds(latency.p95)} ms later, usually"
    )
    return (
        "A device is acknowledged by the broker when its message is in memory there. The appliance stores it and"
        f" acknowledges it to the broker after the commit: {gap}. The broker saves its queue every"
        f" {terms.saves_every:g} s: if it is killed or power fails, messages it acknowledged in the last"
        f" {terms.saves_every:g} s and had not delivered are lost. A stop or restart of the appliance loses nothing."
    )


PARTS = {
    Part.BROKER: "Broker",
    Part.COMMIT: "Commit",
    Part.RULE: "Alert rules",
    Part.OUTBOX: "Outbox",
}


def proof_text(proven: EndToEnd) -> str:
    """Return when a message last passed everything."""
    if proven.proven_seconds is not None:
        return f"Last proven end to end: {in_words(proven.proven_seconds)} ago"
    return "Not proven end to end yet" if proven.holds is None else "Not proven end to end since the start"


def heartbeat_text(proven: EndToEnd) -> str:
    """Return how the heartbeat URL was last called, or that there is none."""
    if not proven.heartbeat:
        return "No heartbeat URL is set (delivery.heartbeat_url): nobody outside learns when this appliance is gone."
    if proven.called is None:
        return "The heartbeat URL is called as soon as there is a proof."
    how = "" if proven.called.ok else " with /fail"
    ago = in_words(proven.called.seconds_ago)
    if proven.called.trouble is not None:
        return f"The heartbeat URL was not reached {ago} ago: {proven.called.trouble}"
    return f"The heartbeat URL was called{how} {ago} ago, and is called every {in_words(proven.interval)}."


DAY_SECONDS = 86_400
SOON_FULL = 14
"""Days within which a full disk is something to act upon."""
HELD = "Nothing is stored: messages wait in the broker."
NOT_SAVED = "The broker may not be able to save its queue."
"""What a full disk means with an embedded database, and with one that is elsewhere."""


def wait_text(waiting: WaitingDay) -> str:
    """Return why a day that is past its age is still there."""
    match waiting.reason:
        case Wait.CLOCK:
            return "Waits until the clock is trusted again"
        case Wait.ROLLUPS:
            return f"Waits for its roll-ups, {formats.count(waiting.pending_hours)} to be written"
        case Wait.LOCK:
            return "Waits for a session that reads or writes readings for long, such as psql"
        case Wait.BACKUP:
            return "Waits for the end of a backup, which reads all readings"
        case _:
            return "Goes within minutes"


def outlook_text(view: RetentionView) -> str | None:
    """Return whether the disk lasts, in a few words; None while that is not known."""
    expected = view.outlook
    if expected is None or expected.free is None:
        return None
    if expected.full_in is None and expected.keeps == 0:
        return "No room for one complete day"
    if expected.full_in is None and expected.keeps is not None:
        days = "day" if expected.keeps == 1 else "days"
        return f"Keeps {formats.count(expected.keeps)} complete {days} at this rate"
    if expected.full_in is None:
        return f"Enough for {formats.count(view.keep_days)} {'day' if view.keep_days == 1 else 'days'} of readings"
    if expected.full_in == 0:
        return "Full within a day"
    return f"Full in {formats.count(expected.full_in)} {'day' if expected.full_in == 1 else 'days'}"


def budget_text(budget: Budget) -> str:
    """Return how much of what may be taken is."""
    whose = "retention.max_bytes" if budget.source is Source.MAX_BYTES else "the size of the disk"
    return f"{formats.size(budget.taken)} of {formats.size(budget.limit)} taken, by {whose}"


def budget_wait(budget: Budget) -> str | None:
    """Return what keeps the day that has to go to make room; None: nothing has to go, or nothing keeps it."""
    match budget.wait:
        case Wait.CLOCK:
            return "The limit is exceeded, but no day goes while the clock is in doubt"
        case Wait.ROLLUPS:
            return "Its hours are rolled up first"
        case Wait.LOCK:
            return "Waits for a session that reads or writes readings for long, such as psql"
        case Wait.BACKUP:
            return "Waits for the end of a backup, which reads all readings"
        case Wait.PASSING:
            return "The disk is short of room: the oldest day goes if it still is in a quarter of an hour"
        case Wait.ASIDE:
            return "No day goes for what a restore replaced: remove the folders replaced-… from the data folder"
        case _:
            return None


def going_text(view: RetentionView, now: float) -> str | None:
    """Return when the oldest day goes to make room; None where its age is reached before, or it is not known."""
    if view.budget is not None and view.budget.going is not None:
        return "now, to make room"
    expected = view.outlook
    if expected is None or expected.drops_in is None or view.next_at is None:
        return None
    if now + expected.drops_in * DAY_SECONDS >= view.next_at:
        return None
    if expected.drops_in == 0:
        return "within a day, to make room"
    return f"in about {formats.count(expected.drops_in)} {'day' if expected.drops_in == 1 else 'days'}, to make room"


def is_pressing(expected: DiskOutlook) -> bool:
    """Return whether somebody should act upon the outlook."""
    return expected.keeps == 0 or (expected.full_in is not None and expected.full_in <= SOON_FULL)


def no_outlook(view: RetentionView, *, embedded: bool) -> str:
    """Return why it is not known whether the disk lasts."""
    if not embedded:
        return "Free space of an external database is not known"
    return "Not measured yet" if view.outlook is not None else "Known after the first complete day"
