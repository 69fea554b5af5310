"""The pure step: what is known of a device and a rule, and what follows."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from appliance.alerts.alert import AlertType
from appliance.alerts.rules.rule import Scope
from appliance.alerts.silence.device import OpenSilence, QuietDevice
from appliance.alerts.silence.judgement import (
    AHEAD,
    Newest,
    Opening,
    Silence,
    Verdict,
    conclude,
    held_back,
    lasting,
    silence_of,
    verdict,
)
from appliance.alerts.silence.rules import SilenceRule, shortest
from appliance.devices.live.presence import Presence
from tests.support.tenants import NOW, TENANT

RULE_ID = UUID(int=1)
BUILT_IN = SilenceRule(TENANT, RULE_ID, 1, AlertType.NO_HEARTBEAT, None, None, NOW, Scope())
TEN_MINUTES = SilenceRule(TENANT, UUID(int=2), 1, AlertType.NO_DATA, None, 600, NOW, Scope())
MISSING = SilenceRule(TENANT, UUID(int=3), 1, AlertType.NO_DATA, "temp", 600, NOW, Scope())


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def device(seconds: float, presence: Presence = Presence.ONLINE) -> QuietDevice:
    """A device that was heard so many seconds ago, by somebody who listened ever since."""
    return QuietDevice(
        tenant_id=TENANT,
        device_id="a",
        site_id=None,
        tags=(),
        subscription_id="SUB",
        served=True,
        presence=presence,
        heard_at=ago(seconds),
        silence=seconds,
        offline_after=300,
        said_offline=False,
        last_ts=ago(seconds),
        metric_times={},
        metric_silences={},
        alerts=(),
    )


def silent(rule: SilenceRule, quiet: QuietDevice) -> bool:
    found = silence_of(rule, quiet, NOW)
    return found is not None and found.silent


def test_the_built_in_rule_follows_presence_and_others_their_seconds() -> None:
    assert silent(BUILT_IN, device(300, Presence.OFFLINE))
    assert not silent(BUILT_IN, device(10_000, Presence.STALE))
    assert silent(TEN_MINUTES, device(600))
    assert not silent(TEN_MINUTES, device(599, Presence.OFFLINE))


@pytest.mark.parametrize("rule", [BUILT_IN, TEN_MINUTES, MISSING])
def test_a_device_that_is_refused_is_not_silent(rule: SilenceRule) -> None:
    quiet = replace(device(9999, Presence.REFUSED), metric_times={"temp": 1}, metric_silences={"temp": 9999.0})
    assert not silent(rule, quiet)


def test_a_metric_is_missing_as_long_as_its_device_went_on_without_it() -> None:
    def missing(seen: float, newest: float, listened: float = 700.0) -> bool:
        """Whether it is silent without a metric for 700 s; when it was seen, and the time of its newest reading."""
        times, silences = {"temp": round(ago(700).timestamp() * 1_000_000)}, {"temp": listened}
        quiet = replace(device(seen), metric_times=times, metric_silences=silences, last_ts=ago(newest))
        return silent(MISSING, quiet)

    assert missing(seen=0, newest=0), "the device talks, and not of this"
    assert not missing(seen=0, newest=200), "it is at readings of 200 s ago"
    assert missing(seen=300, newest=400), "300 s without, then 300 s of silence"
    assert not missing(seen=700, newest=700, listened=500), "we were away"
    assert silence_of(MISSING, device(9999), NOW) is None, "never seen with it"


def test_a_time_ahead_of_ours_says_nothing() -> None:
    assert silence_of(BUILT_IN, device(-AHEAD.total_seconds() - 1), NOW) is None
    assert silence_of(BUILT_IN, device(-AHEAD.total_seconds()), NOW) is not None


def test_only_a_message_or_a_longer_limit_ends_an_alert() -> None:
    def found(*, silent: bool, since: float, lasted: float) -> Verdict:
        return verdict(Silence(silent, ago(since), lasted, 300), ago(1000))

    assert found(silent=True, since=1000, lasted=1000) is Verdict.SILENT
    assert found(silent=False, since=999, lasted=999) is Verdict.BACK
    assert found(silent=False, since=1000, lasted=299) is Verdict.BACK
    assert found(silent=False, since=1000, lasted=300) is Verdict.UNKNOWN, "who listened then was forgotten"
    assert verdict(None, ago(1000)) is Verdict.UNKNOWN


def test_what_is_concluded_of_a_device_with_and_without_an_alert() -> None:
    rules = {TENANT: (BUILT_IN,)}
    quiet = device(300, Presence.OFFLINE)
    assert [one.fingerprint for one in conclude([quiet], rules, NOW).openings] == [f"rule:{RULE_ID}:a"]
    freed = replace(quiet, alerts=(OpenSilence(7, RULE_ID, ago(300), freed=True),))
    assert conclude([freed], rules, NOW).freed == [(freed, 7)]
    back = replace(device(1), alerts=(OpenSilence(7, RULE_ID, ago(300), freed=True),))
    found = conclude([back], rules, NOW)
    assert (found.openings, found.ended, found.freed) == ([], [7], [])
    other = replace(BUILT_IN, scope=Scope(device_ids=("b",)))
    assert conclude([quiet], {TENANT: (other,)}, NOW).openings == []
    assert conclude([quiet], {}, NOW).openings == []


def test_what_a_person_closed_is_held_back_for_the_same_silence_and_version() -> None:
    silence = silence_of(BUILT_IN, device(5000, Presence.OFFLINE), NOW)
    assert silence is not None
    opening = Opening(device(5000, Presence.OFFLINE), BUILT_IN, silence)
    closed = Newest("closed", 1, ago(5000), ago(100))

    def held(newest: Newest | None, reopen_after: float = 1000) -> bool:
        return held_back(opening, newest, NOW, reopen_after)

    assert held(closed)
    assert not held(closed, reopen_after=100)
    assert not held(None)
    assert not held(replace(closed, close_reason="cleared"))
    assert not held(replace(closed, rule_version=0))
    assert not held(replace(closed, started_at=ago(5001))), "it was heard since"
    assert not held(replace(closed, closed_at=NOW + 2 * AHEAD)), "closed by a wrong clock"


def test_what_rules_ask_of_a_tenant() -> None:
    assert shortest([BUILT_IN]) == {None: float("inf")}
    assert shortest([BUILT_IN, TEN_MINUTES, MISSING]) == {None: 600, "temp": 600}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
