"""What is proven, and which part is named when it is not."""

import pytest

from appliance.watchdog.probes import opens
from appliance.watchdog.proof import MOST_UNDER_WAY, Part, Proof
from tests.support.clock import DoubtfulClock

INTERVAL = 60.0


class Seen:
    """A proof whose clock is the test's."""

    def __init__(self) -> None:
        self.clock = DoubtfulClock(1_796_000_000.0, 0.0, trusted=False)
        self.proof = Proof(self.clock, INTERVAL)
        self.number = 0

    def after(self, seconds: float, *works: Part) -> Proof:
        """Let the parts work, one after the other, some seconds later."""
        self.clock.at += seconds
        if Part.BROKER in works:
            self.proof.broker_passed()
        if Part.COMMIT in works:
            self.number += 1
            self.proof.committed(self.number, self.proof.heard_at, right=Part.RULE in works)
        if Part.OUTBOX in works:
            self.proof.taken([self.number])
        return self.proof


def test_a_start_has_an_interval_for_its_first_proof() -> None:
    seen = Seen()
    assert seen.after(INTERVAL).holds is None
    assert seen.after(1).holds is False
    assert seen.after(0, *Part).holds is True


def test_a_proof_is_as_old_as_the_message_of_the_broker() -> None:
    seen = Seen()
    seen.after(0, Part.BROKER)
    proof = seen.after(20, Part.COMMIT, Part.RULE, Part.OUTBOX)
    assert proof.age == 20
    assert proof.holds
    assert seen.after(INTERVAL - 20).holds
    assert seen.after(0.5).holds is False


@pytest.mark.parametrize("stopped", Part)
def test_a_part_that_stops_ends_the_proof_and_is_named(stopped: Part) -> None:
    seen = Seen()
    left = [part for part in Part if part is not stopped]
    seen.after(0, *Part)
    for _ in range(6):
        assert seen.after(10, *left).holds
    proof = seen.after(10, *left)
    assert proof.holds is False
    assert proof.missing == [stopped]
    assert seen.after(10, *Part).holds
    assert list(proof.missing) == []


def test_without_a_commit_nothing_is_said_of_what_follows_it() -> None:
    seen = Seen()
    seen.after(0, *Part)
    assert seen.after(INTERVAL + 1, Part.BROKER).missing == [Part.COMMIT]
    assert seen.after(INTERVAL + 1).missing == [Part.BROKER, Part.COMMIT]


def test_parts_that_work_too_far_apart_are_named_by_the_oldest() -> None:
    seen = Seen()
    seen.after(0, *Part)
    seen.after(25, Part.BROKER)
    seen.after(15, Part.COMMIT, Part.RULE)
    proof = seen.after(15)
    assert proof.holds
    assert seen.after(6).missing == [Part.OUTBOX]


def test_what_an_earlier_process_has_left_proves_nothing() -> None:
    seen = Seen()
    seen.proof.broker_passed()
    seen.proof.taken([7, 8])
    assert seen.proof.age is None
    assert not seen.proof.awaited


def test_probes_that_nobody_takes_are_forgotten() -> None:
    seen = Seen()
    for _ in range(3 * MOST_UNDER_WAY):
        seen.after(1, Part.BROKER, Part.COMMIT, Part.RULE)
    assert len(seen.proof._under_way) == MOST_UNDER_WAY


def test_the_step_of_a_rule_opens() -> None:
    assert opens(1_796_000_000_000_000)
