"""What is counted, and what people read of it."""

from appliance.reading import Reason
from appliance.simulate.devices import Behaviour, SimulatedMessage
from appliance.simulate.outcome_counts import OutcomeCounts

GOOD = SimulatedMessage("tenant/a/device/b/telemetry", b"{}", 1, 0)
BAD = SimulatedMessage("tenant/a/device/b/telemetry", b"{", None, 1, Reason.INVALID_JSON)


def test_a_summary_says_what_became_of_everything() -> None:
    counts = OutcomeCounts()
    for message in (GOOD, GOOD, BAD, GOOD):
        counts.send(Behaviour.NORMAL if message is GOOD else Behaviour.MALFORMED)
    counts.acknowledge(GOOD)
    counts.acknowledge(BAD)
    counts.refuse("NOT_AUTHORIZED")
    counts.seconds = 2.0
    assert counts.open == 1
    assert counts.rate == 1
    assert counts.summary().splitlines() == [
        "4 messages sent in 2.0 s, 2 acknowledged by the broker (1/s)",
        "  by behaviour: normal 3, malformed 1",
        "  of these, quarantine should show: INVALID_JSON 1",
        "  refused by the broker: NOT_AUTHORIZED 1",
        "  without an answer: 1",
    ]
    assert counts.progress() == "   2.0 s  4 sent  2 acknowledged  1/s  1 refused by the broker"


def test_a_run_without_incident_is_told_in_two_lines() -> None:
    counts = OutcomeCounts()
    assert counts.rate == 0
    counts.send(Behaviour.NORMAL)
    counts.acknowledge(GOOD)
    assert len(counts.summary().splitlines()) == 2
