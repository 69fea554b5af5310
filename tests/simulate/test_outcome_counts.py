"""What is counted, and what people read of it."""

from appliance.reading import Reason
from appliance.simulate.devices import Behaviour, SimulatedMessage
from appliance.simulate.outcome_counts import OutcomeCounts

GOOD = SimulatedMessage("tenant/a/device/b/telemetry", b"{}", 1, 0)
BAD = SimulatedMessage("tenant/a/device/b/telemetry", b"{", None, 1, Reason.INVALID_JSON)


def test_a_summary_says_what_became_of_everything() -> None:
    tally = OutcomeCounts()
    for message in (GOOD, GOOD, BAD, GOOD):
        tally.send(Behaviour.NORMAL if message is GOOD else Behaviour.MALFORMED)
    tally.acknowledge(GOOD)
    tally.acknowledge(BAD)
    tally.refuse("NOT_AUTHORIZED")
    tally.seconds = 2.0
    assert tally.open == 1
    assert tally.rate == 1
    assert tally.summary().splitlines() == [
        "4 messages sent in 2.0 s, 2 acknowledged by the broker (1/s)",
        "  by behaviour: normal 3, malformed 1",
        "  of these, quarantine should show: INVALID_JSON 1",
        "  refused at the door: NOT_AUTHORIZED 1",
        "  without an answer: 1",
    ]
    assert tally.progress() == "   2.0 s  4 sent  2 acknowledged  1/s  1 refused at the door"


def test_a_run_without_incident_is_told_in_two_lines() -> None:
    tally = OutcomeCounts()
    assert tally.rate == 0
    tally.send(Behaviour.NORMAL)
    tally.acknowledge(GOOD)
    assert len(tally.summary().splitlines()) == 2
