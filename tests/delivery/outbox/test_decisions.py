"""The one order of decisions, as a table."""

from dataclasses import replace
from datetime import time
from typing import Any

import pytest

from appliance.delivery.outbox.decisions import (
    INHIBITED_SECONDS,
    Case,
    Decision,
    Hold,
    Merge,
    Moment,
    RouteTerms,
    Send,
    Skip,
    Summary,
    decide,
)
from appliance.delivery.outbox.job import JobEvent, Reason, Receipt
from appliance.delivery.routes.route import QuietHours
from appliance.severity import Severity

NOON = 1_796_126_400.0
"""2026-12-01 12:00 UTC, a full minute."""
QUIET = QuietHours(time(11), time(14), "UTC", spares_critical=True)
TWO = NOON + 7200
LATER = NOON + 3600
SECOND = NOON + 1
TERMS = RouteTerms(
    on=True, receiver_on=True, may_merge=True, reminds=True, delay_seconds=0, throttle_seconds=0, burst=10, quiet=None
)
IN_ROUTE = ("on", "receiver_on", "may_merge", "reminds", "delay_seconds", "throttle_seconds", "burst", "quiet")

OPEN, REMINDER, ACKNOWLEDGED, CLOSED = JobEvent


def case(event: JobEvent, **differs: Any) -> Case:
    """Return a job of a high, open alert, due at NOON; ``differs`` may name parts of the route's terms, too."""
    terms = replace(TERMS, **{name: differs.pop(name) for name in IN_ROUTE if name in differs})
    status = {OPEN: "OPEN", REMINDER: "OPEN", ACKNOWLEDGED: "ACKNOWLEDGED", CLOSED: "CLOSED"}[event]
    plain = Case(
        event=event,
        reason=None,
        receipt=Receipt.NONE,
        created_at=NOON,
        waited=False,
        carrier=False,
        status=status,
        severity=Severity.HIGH,
        past=False,
        due_at=NOON,
        superseded=False,
        inhibited=False,
        cause_open=False,
        silenced_until=None,
        maintained_until=None,
        route=terms,
        matches=True,
        told=None if event is OPEN else True,
        told_in_summary=False,
        last_told=None,
        told_in_minute=0,
    )
    return replace(plain, **differs)


def at(now: float = NOON, settled: float | None = None) -> Moment:
    return Moment(now, now if settled is None else settled)


SUPERSEDED = {"superseded": True, "status": "CLOSED"}
INHIBITED = {"inhibited": True, "cause_open": True}
IN_WINDOW = {"maintained_until": LATER}
SILENCED = {"silenced_until": LATER}
EVENING = {"quiet": QUIET}

TABLE: list[tuple[str, JobEvent, dict[str, Any], Decision]] = [
    # plainly
    ("an open alert is told at once", OPEN, {}, Send()),
    ("so is a reminder", REMINDER, {}, Send()),
    ("so is an acknowledgement", ACKNOWLEDGED, {}, Send()),
    ("so is an end", CLOSED, {}, Send()),
    # asked for
    ("nothing by a route that is off", OPEN, {"on": False}, Skip(Reason.ROUTE_OFF)),
    ("nor a reminder", REMINDER, {"on": False}, Skip(Reason.ROUTE_OFF)),
    ("but the end of what it told", CLOSED, {"on": False}, Send()),
    ("and that somebody is on it", ACKNOWLEDGED, {"on": False}, Send()),
    ("no end alone by a route that is off", CLOSED, {"on": False, "told": None}, Skip(Reason.ROUTE_OFF)),
    ("nothing through an integration that is off", OPEN, {"receiver_on": False}, Skip(Reason.INTEGRATION_OFF)),
    ("not even an end", CLOSED, {"receiver_on": False}, Skip(Reason.INTEGRATION_OFF)),
    ("by hand neither", CLOSED, {"receiver_on": False, "reason": Reason.BY_HAND}, Skip(Reason.INTEGRATION_OFF)),
    ("nothing that a changed route does not take", OPEN, {"matches": False}, Skip(Reason.NO_MATCH)),
    ("what was tried goes on", OPEN, {"matches": False, "receipt": Receipt.REFUSED}, Send()),
    ("an end whatever the route takes now", CLOSED, {"matches": False}, Send()),
    ("nor reminds of it any more", REMINDER, {"matches": False}, Skip(Reason.NO_MATCH)),
    ("no reminder of a route that reminds no more", REMINDER, {"reminds": False}, Skip(Reason.NO_MATCH)),
    ("by hand, whatever holds it", OPEN, {"reason": Reason.BY_HAND, "status": "CLOSED", **SILENCED, **EVENING}, Send()),
    ("by hand, but for a route that is off", OPEN, {"reason": Reason.BY_HAND, "on": False}, Skip(Reason.ROUTE_OFF)),
    ("what tells others is sent", OPEN, {"carrier": True, "status": "CLOSED", **SILENCED}, Send()),
    # superseded
    ("no end of what the next warning took the place of", CLOSED, SUPERSEDED, Skip(Reason.SUPERSEDED)),
    ("nor its beginning", OPEN, SUPERSEDED, Skip(Reason.SUPERSEDED)),
    ("nor where it was tried", OPEN, {**SUPERSEDED, "receipt": Receipt.POSSIBLE}, Skip(Reason.SUPERSEDED)),
    ("nor in a summary", OPEN, {**SUPERSEDED, "waited": True}, Skip(Reason.SUPERSEDED)),
    ("nor alone", CLOSED, {**SUPERSEDED, "told": None}, Skip(Reason.SUPERSEDED)),
    ("by hand it is sent", CLOSED, {**SUPERSEDED, "reason": Reason.BY_HAND}, Send()),
    ("but an incident of its own is resolved", CLOSED, {**SUPERSEDED, "may_merge": False}, Send()),
    ("where there is one", CLOSED, {**SUPERSEDED, "may_merge": False, "told": False}, Skip(Reason.NOT_TOLD)),
    # inhibited
    ("held while its cause is open", OPEN, INHIBITED, Hold(NOON + INHIBITED_SECONDS, Reason.INHIBITED)),
    ("told when its cause has closed", OPEN, {"inhibited": True}, Send()),
    ("skipped when it closes first", OPEN, {**INHIBITED, "status": "CLOSED"}, Skip(Reason.INHIBITED)),
    ("so is a past one", OPEN, {"inhibited": True, "status": "CLOSED", "past": True}, Skip(Reason.INHIBITED)),
    ("a reminder waits, too", REMINDER, INHIBITED, Hold(NOON + INHIBITED_SECONDS, Reason.INHIBITED)),
    ("a told one gets its end", CLOSED, INHIBITED, Send()),
    ("its end alone is no news", CLOSED, {**INHIBITED, "told": None}, Skip(Reason.INHIBITED)),
    # maintenance and silence
    ("held until the window ends", OPEN, IN_WINDOW, Hold(LATER, Reason.MAINTENANCE)),
    ("held until the silence ends", OPEN, SILENCED, Hold(LATER, Reason.SILENCED)),
    ("a silence that is over holds nothing", OPEN, {"silenced_until": NOON}, Send()),
    ("maintenance before silence", OPEN, {**IN_WINDOW, **SILENCED}, Hold(LATER, Reason.MAINTENANCE)),
    ("inhibition before both", OPEN, {**INHIBITED, **IN_WINDOW}, Hold(NOON + INHIBITED_SECONDS, Reason.INHIBITED)),
    ("closed within the window", OPEN, {**IN_WINDOW, "status": "CLOSED"}, Skip(Reason.MAINTENANCE)),
    ("closed within the silence", OPEN, {**SILENCED, "status": "CLOSED"}, Skip(Reason.SILENCED)),
    ("held until it closed", OPEN, {"reason": Reason.SILENCED, "status": "CLOSED"}, Skip(Reason.SILENCED)),
    ("a told one gets its end in a window", CLOSED, IN_WINDOW, Send()),
    ("a told one gets its end under a silence", CLOSED, SILENCED, Send()),
    ("and its acknowledgement", ACKNOWLEDGED, {**SILENCED, **IN_WINDOW}, Send()),
    ("an end alone is no news then", CLOSED, {**SILENCED, "told": None}, Skip(Reason.SILENCED)),
    ("nor an acknowledgement alone", ACKNOWLEDGED, {**IN_WINDOW, "told": None}, Skip(Reason.MAINTENANCE)),
    ("a silence ends reminders", REMINDER, SILENCED, Skip(Reason.SILENCED)),
    ("a window does not: who is to be reminded is when it ends", REMINDER, IN_WINDOW, Hold(LATER, Reason.MAINTENANCE)),
    # quiet hours
    ("held until they end", OPEN, EVENING, Hold(TWO, Reason.QUIET_HOURS)),
    ("critical passes", OPEN, {**EVENING, "severity": Severity.CRITICAL}, Send()),
    (
        "critical waits where that was chosen",
        OPEN,
        {"quiet": replace(QUIET, spares_critical=False), "severity": Severity.CRITICAL},
        Hold(TWO, Reason.QUIET_HOURS),
    ),
    ("silence before quiet hours", OPEN, {**EVENING, **SILENCED}, Hold(LATER, Reason.SILENCED)),
    ("closed within them", OPEN, {**EVENING, "status": "CLOSED"}, Skip(Reason.QUIET_HOURS)),
    (
        "acknowledged within them",
        OPEN,
        {"reason": Reason.QUIET_HOURS, "status": "ACKNOWLEDGED"},
        Skip(Reason.OVERTAKEN),
    ),
    ("an end waits, too", CLOSED, EVENING, Hold(TWO, Reason.QUIET_HOURS)),
    ("a retry waits, too", OPEN, {**EVENING, "receipt": Receipt.POSSIBLE}, Hold(TWO, Reason.QUIET_HOURS)),
    # delay
    ("held until the delay ends", OPEN, {"delay_seconds": 900}, Hold(NOON + 900, Reason.DELAYED)),
    ("told when it is over", OPEN, {"delay_seconds": 900, "created_at": NOON - 900}, Send()),
    ("due later than written", OPEN, {"due_at": NOON + 60}, Hold(NOON + 60, Reason.DELAYED)),
    ("an acknowledgement ends a delay", OPEN, {"delay_seconds": 900, "status": "ACKNOWLEDGED"}, Skip(Reason.OVERTAKEN)),
    (
        "a delay hides a blip",
        OPEN,
        {"delay_seconds": 60, "reason": Reason.DELAYED, "status": "CLOSED"},
        Skip(Reason.DELAYED),
    ),
    ("and a past one", OPEN, {"delay_seconds": 60, "past": True, "status": "CLOSED"}, Skip(Reason.DELAYED)),
    ("acknowledged at once, it is told all the same", OPEN, {"status": "ACKNOWLEDGED"}, Send()),
    ("quiet hours before the delay", OPEN, {**EVENING, "delay_seconds": 900}, Hold(TWO, Reason.QUIET_HOURS)),
    # throttle
    (
        "one at most in the throttle",
        OPEN,
        {"throttle_seconds": 600, "last_told": NOON - 10},
        Hold(NOON + 590, Reason.THROTTLED),
    ),
    ("the next when it ends", OPEN, {"throttle_seconds": 600, "last_told": NOON - 600}, Send()),
    ("closed within it", OPEN, {"reason": Reason.THROTTLED, "status": "CLOSED"}, Skip(Reason.THROTTLED)),
    ("never an end", CLOSED, {"throttle_seconds": 600, "last_told": NOON - 10}, Send()),
    (
        "never a retry",
        OPEN,
        {"throttle_seconds": 600, "last_told": NOON - 10, "receipt": Receipt.REFUSED},
        Send(),
    ),
    (
        "the delay before the throttle",
        OPEN,
        {"delay_seconds": 5, "throttle_seconds": 600, "last_told": NOON - 10},
        Hold(NOON + 5, Reason.DELAYED),
    ),
    # burst
    ("the tenth of a minute", OPEN, {"told_in_minute": 9}, Send()),
    ("the eleventh waits for its end", OPEN, {"told_in_minute": 10}, Hold(NOON + 60, Reason.MERGING)),
    ("and is told with the others", OPEN, {"reason": Reason.MERGING, "told_in_minute": 10}, Merge(Summary.BURST)),
    ("ends are gathered, too", CLOSED, {"told_in_minute": 10}, Hold(NOON + 60, Reason.MERGING)),
    ("told in a summary, ended in one", CLOSED, {"told_in_summary": True}, Hold(NOON + 60, Reason.MERGING)),
    ("an end with the others", CLOSED, {"reason": Reason.MERGING, "told_in_summary": True}, Merge(Summary.BURST)),
    ("0 is off", OPEN, {"burst": 0, "told_in_minute": 1000}, Send()),
    ("never for a type that cannot merge", OPEN, {"may_merge": False, "told_in_minute": 1000}, Send()),
    ("nor for what waited for a way out", OPEN, {"waited": True, "told_in_minute": 1000}, Send()),
    ("nor for a retry", OPEN, {"receipt": Receipt.REFUSED, "told_in_minute": 1000}, Send()),
    (
        "the throttle before the burst",
        OPEN,
        {"told_in_minute": 10, "throttle_seconds": 600, "last_told": NOON - 10},
        Hold(NOON + 590, Reason.THROTTLED),
    ),
    # ends
    ("never tried, overtaken by its end", OPEN, {"status": "CLOSED"}, Skip(Reason.OVERTAKEN)),
    ("and that end with it", CLOSED, {"told": False}, Skip(Reason.NOT_TOLD)),
    ("nor an acknowledgement of it", ACKNOWLEDGED, {"told": False}, Skip(Reason.NOT_TOLD)),
    ("refused once, it goes on", OPEN, {"status": "CLOSED", "receipt": Receipt.REFUSED}, Send()),
    ("timed out once, it goes on", OPEN, {"status": "CLOSED", "receipt": Receipt.POSSIBLE, **SILENCED}, Send()),
    ("an end by a route that takes no OPEN", CLOSED, {"told": None}, Send()),
    ("an acknowledgement overtaken by the end", ACKNOWLEDGED, {"status": "CLOSED"}, Skip(Reason.OVERTAKEN)),
    ("an acknowledgement that was undone", ACKNOWLEDGED, {"status": "OPEN"}, Skip(Reason.OVERTAKEN)),
    ("an acknowledgement ends reminders", REMINDER, {"status": "ACKNOWLEDGED"}, Skip(Reason.OVERTAKEN)),
    ("an end ends reminders", REMINDER, {"status": "CLOSED"}, Skip(Reason.OVERTAKEN)),
    # summaries
    ("past alerts come as one", OPEN, {"status": "CLOSED", "past": True}, Merge(Summary.ENDED)),
    ("and by a route of ends alone", CLOSED, {"past": True, "told": None}, Merge(Summary.ENDED)),
    (
        "not where types cannot merge",
        OPEN,
        {"status": "CLOSED", "past": True, "may_merge": False},
        Skip(Reason.OVERTAKEN),
    ),
    ("closed without a way out", OPEN, {"status": "CLOSED", "waited": True}, Merge(Summary.ENDED)),
    ("whatever the delay", OPEN, {"status": "CLOSED", "waited": True, "delay_seconds": 9}, Merge(Summary.ENDED)),
    ("told before, ended without a way out", CLOSED, {"waited": True}, Merge(Summary.ENDED)),
    ("one by one where types cannot merge", CLOSED, {"waited": True, "may_merge": False}, Send()),
    ("still open on return", OPEN, {"waited": True, "status": "ACKNOWLEDGED", "delay_seconds": 0}, Send()),
]


@pytest.mark.parametrize(
    ("event", "differs", "expected"), [pytest.param(*row[1:], id=f"{row[1]}: {row[0]}") for row in TABLE]
)
def test_what_becomes_of_a_job(event: JobEvent, differs: dict[str, Any], expected: Decision) -> None:
    assert decide(case(event, **differs), at()) == expected


def test_while_the_clock_is_in_doubt_a_silence_does_not_end_and_is_asked_about_once_a_second() -> None:
    silenced = case(OPEN, silenced_until=NOON - 1)
    assert decide(silenced, at(settled=NOON - 10)) == Hold(SECOND, Reason.SILENCED)
    assert decide(silenced, at(settled=NOON)) == Send()
