"""What the appliance remembers of itself, second by second, without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from appliance.alerts.conditions.own import (
    LASTING_SECONDS,
    MAX_OUTAGES,
    QUIET_SECONDS,
    ClockDoubt,
    EndingCertificate,
    Exceeded,
    FloodingUser,
    MissingBackup,
    OwnConditions,
    OwnState,
    SharedId,
)
from appliance.severity import Severity
from tests.support.clock import DoubtfulClock

START = 1_796_000_000.0
GB = 1024**3


class Seen:
    """An appliance whose state and clock are the test's."""

    def __init__(self, *, own_broker: bool = True) -> None:
        self.clock = DoubtfulClock(START, START, trusted=True)
        self.state = OwnState({}, 0)
        self.own = OwnConditions("i-1", "barn", lambda: self.state, self.clock, own_broker=own_broker)

    def after(self, seconds: float = 0, full_in: int | None = None, **changes: Any) -> list[str]:
        """The summaries of what holds, ``seconds`` later, once a look was taken."""
        self.clock.at += seconds
        self.state = replace(self.state, **changes)
        self.own.look()
        return [condition.summary for condition in self.own.holding(full_in)]


def test_what_is_wrong_for_a_few_seconds_is_no_alert() -> None:
    seen = Seen()
    assert seen.after(causes={"broker": "refused"}) == []
    assert seen.after(LASTING_SECONDS - 1) == []
    assert seen.after(causes={}) == []
    assert seen.after(causes={"broker": "refused"}) == []
    assert seen.after(LASTING_SECONDS) == ["The broker of barn is not reachable"]
    assert seen.after(causes={}) == []


def test_while_postgres_is_away_nothing_is_known_of_the_rest() -> None:
    seen = Seen()
    seen.after(causes={"storing": "locked"})
    assert len(seen.after(LASTING_SECONDS)) == 1
    assert len(seen.after(1, causes={"postgres": "refused"})) == 1
    assert seen.after(1, causes={}) == []


def test_data_that_nothing_can_be_dropped_of_is_an_alert_while_it_takes_too_much() -> None:
    seen = Seen()
    text = "The data of barn takes more than retention.max_bytes, and no day of readings can go"
    assert seen.after(exceeded=Exceeded(3 * GB, 2 * GB)) == [text]
    (condition,) = seen.own.holding(None)
    assert condition.severity is Severity.HIGH
    assert (condition.details["taken_bytes"], condition.details["limit_bytes"]) == (3 * GB, 2 * GB)
    assert seen.after(exceeded=Exceeded(3 * GB, 2 * GB, aside=True)) == [
        "The data of barn takes more than retention.max_bytes, with what a restore replaced"
    ]
    assert seen.after(exceeded=None) == []


def test_client_ids_that_two_tenants_fight_over_are_an_alert_while_they_do() -> None:
    seen = Seen()
    named = SharedId("{name}%s", ("acme/device/a", "globex/device/b"), 7)
    text = "On barn, devices of two tenants use the same client id and end each other's connection"
    assert seen.after(1, shared_ids=[named] * 9) == [text]
    (condition,) = seen.own.holding(None)
    assert (condition.severity, condition.count) == (Severity.HIGH, 9)
    shown = condition.details["client_ids"]
    assert isinstance(shown, list)
    assert shown == [{"client_id": "{name}%s", "users": ["acme/device/a", "globex/device/b"], "times": 7}] * 5
    assert seen.own.affected() == [], "no customer is told of another"
    assert seen.after(1, shared_ids=[]) == []


def test_users_that_are_shut_out_for_a_flood_are_an_alert_while_they_are() -> None:
    seen = Seen()
    user = FloodingUser("{name}", "sent too much", 2)
    text = "A user is shut out of the broker of barn for a while: its messages would have stopped it for others"
    assert seen.after(1, flooding=[user] * 9) == [text]
    (condition,) = seen.own.holding(None)
    assert (condition.severity, condition.count) == (Severity.HIGH, 9)
    assert condition.details["users"] == [{"user": "{name}", "detail": "sent too much", "times": 2}] * 5
    assert seen.own.affected() == [], "no customer is told of another"
    assert seen.after(1, flooding=[]) == []


def test_a_broker_that_is_nearly_out_of_memory_is_an_alert_once_that_lasts() -> None:
    seen = Seen()
    assert seen.after(causes={"broker_memory": "the broker has allocated 700 of 805 MB"}) == []
    assert seen.after(LASTING_SECONDS) == ["The broker of barn is nearly out of memory"]
    assert seen.after(1, causes={}) == []


def test_an_external_broker_that_keeps_too_little_is_an_alert_once_that_lasts() -> None:
    seen = Seen()
    assert seen.after(causes={"broker_session": "it keeps our session for 5 minutes"}) == []
    assert seen.after(LASTING_SECONDS) == ["The broker of barn does not keep messages for as long as it should"]
    assert seen.after(1, causes={}) == []


def test_an_outage_of_postgres_is_kept_until_it_is_told() -> None:
    seen = Seen()
    for length in (LASTING_SECONDS - 1, 90):
        seen.after(causes={"postgres": "refused"})
        seen.after(length, causes={})
    (outage,) = seen.own.outages
    assert (outage.until - outage.since).total_seconds() == 90
    assert seen.own.outage_condition(outage).summary == "Postgres was away from barn for 2 minutes"
    seen.own.told([outage])
    assert seen.own.outages == []


def test_outages_that_wait_to_be_told_are_bounded() -> None:
    seen = Seen()
    for _ in range(2 * MAX_OUTAGES):
        seen.after(causes={"postgres": "refused"})
        seen.after(60, causes={})
    assert len(seen.own.outages) == MAX_OUTAGES


def test_messages_that_the_broker_dropped_are_counted_until_it_is_quiet_and_told_to_customers() -> None:
    seen = Seen()
    assert seen.after(dropped=0) == []
    assert seen.own.affected() == []
    text = "The broker of barn dropped messages that it had acknowledged to devices"
    assert seen.after(5, dropped=3) == [text]
    assert seen.after(5, dropped=1200) == [text]
    (condition,) = seen.own.holding(None)
    assert (condition.count, condition.details["value"]) == (1200, 1200)
    assert seen.own.affected() == [
        "The broker of this appliance had no room for 1,200 messages of devices: readings may be missing."
    ]
    assert seen.after(5, dropped=5) == [text], "it was started anew, and dropped five"
    assert seen.own.holding(None)[0].count == 1205
    assert seen.after(QUIET_SECONDS - 1) == [text]
    assert seen.after(1) == []
    assert seen.own.affected() == []


def test_what_an_external_broker_dropped_before_is_not_ours() -> None:
    seen = Seen(own_broker=False)
    assert seen.after(dropped=None) == []
    assert seen.after(dropped=500) == []
    assert len(seen.after(dropped=501)) == 1
    assert seen.own.holding(None)[0].count == 1


def test_a_disk_is_nearly_full_as_long_as_it_is_low() -> None:
    seen = Seen()
    assert seen.after(total=32 * GB, free=2 * GB) == []
    assert seen.after(free=GB, low=True) == ["The disk of barn is nearly full"]
    [condition] = seen.own.holding(None)
    assert (condition.details["free_bytes"], condition.details["total_bytes"]) == (GB, 32 * GB)
    assert seen.after(free=3 * GB, low=False) == []


def test_a_disk_that_stops_messages_is_one_alert_and_worse_than_one_that_is_nearly_full() -> None:
    seen = Seen()
    seen.after(free=GB, total=100 * GB, low=True, causes={"disk": "the disk is full"})
    assert seen.after(LASTING_SECONDS, full_in=3) == ["The disk of barn is full: messages are not stored"]
    [condition] = seen.own.holding(3)
    assert (condition.fingerprint, condition.details["cause"]) == ("system:disk:i-1", "the disk is full")
    assert seen.after(1, causes={}) == ["The disk of barn is nearly full"]


def test_a_disk_that_will_be_full_within_two_weeks_is_told() -> None:
    seen = Seen()
    assert seen.after(full_in=15) == []
    assert seen.after(full_in=14) == ["The disk of barn is full in 14 days, if readings go on as before"]
    assert seen.after(full_in=1) == ["The disk of barn is full in 1 day, if readings go on as before"]


def test_a_clock_in_doubt_is_told_with_its_cause() -> None:
    seen = Seen()
    assert seen.after(doubt=ClockDoubt("behind", START - 60)) == ["The clock of barn is in doubt"]
    (condition,) = seen.own.holding(None)
    assert condition.details["cause"] == "behind"
    assert condition.started_at is not None
    assert condition.started_at.timestamp() == START - 60
    assert seen.after(doubt=None) == []


def test_a_missing_backup_is_told_with_its_cause_until_there_is_one() -> None:
    seen = Seen()
    missing = MissingBackup("the disk is full", START - 60)
    assert seen.after(missing_backup=missing) == ["There is no new backup of barn"]
    [condition] = seen.own.holding(None)
    assert (condition.severity, condition.details["cause"]) == (Severity.HIGH, "the disk is full")
    assert seen.after(missing_backup=None) == []


def test_a_certificate_that_ends_soon_or_has_ended_is_an_alert_until_it_is_renewed() -> None:
    seen = Seen()
    soon = EndingCertificate("dashboard", datetime(2027, 6, 11, tzinfo=UTC), ended=False)
    assert seen.after(ending=[soon]) == ["The certificate of the dashboard of barn ends soon"]
    [condition] = seen.own.holding(None)
    assert (condition.severity, condition.details["ends"]) == (Severity.HIGH, "2027-06-11T00:00:00+00:00")
    assert seen.after(ending=[replace(soon, ended=True)]) == ["The certificate of the dashboard of barn has ended"]
    [ended] = seen.own.holding(None)
    assert (ended.severity, ended.key) == (Severity.CRITICAL, condition.key)
    assert seen.after(ending=[]) == []


def test_files_of_a_new_certificate_that_cannot_be_used_are_an_alert_of_their_own() -> None:
    seen = Seen()
    text = "The broker of barn keeps its certificate: the new one cannot be used"
    cause = "/etc/broker.key is not the key of the certificate"
    assert seen.after(unusable={"broker": cause}) == [text]
    assert seen.own.holding(None)[0].details["cause"] == cause
    assert seen.after(unusable={}) == []
