"""How wrong tries are slowed: by account, by address, by browser, and never the owner elsewhere."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from appliance.people.throttle import (
    FIRST_WAIT,
    FORGET_AFTER,
    FREE,
    LONGEST_WAIT,
    SHARE,
    AttemptSource,
    Counted,
    PasswordsBeside,
    Throttle,
    ThrottleWait,
)

THIEF = AttemptSource("ingrid@acme.example", "203.0.113.9")
OWNER = AttemptSource("ingrid@acme.example", "192.0.2.7")


def tries_let_through(throttle: Throttle, source: AttemptSource, tries: int, now: float = 0.0) -> int:
    """How many of so many tries at one moment are let through; all of them wrong."""
    return sum(throttle.begin(source, now) is None for _ in range(tries))


def test_the_first_tries_are_free_and_a_thousand_are_not() -> None:
    throttle = Throttle()
    assert tries_let_through(throttle, THIEF, 1000) == FREE


def test_each_wrong_try_doubles_the_wait_up_to_an_hour() -> None:
    throttle, now, waits = Throttle(), 0.0, []
    tries_let_through(throttle, THIEF, FREE)
    for _ in range(12):
        wait = throttle.begin(THIEF, now)
        assert isinstance(wait, ThrottleWait)
        waits.append(wait.seconds)
        now += wait.seconds
        assert throttle.begin(THIEF, now) is None
    assert waits[:4] == [FIRST_WAIT, 60, 120, 240]
    assert waits[-1] == LONGEST_WAIT


def test_whoever_guesses_from_one_place_does_not_shut_out_the_owner_elsewhere() -> None:
    throttle = Throttle()
    tries_let_through(throttle, THIEF, 1000)
    assert throttle.begin(OWNER, 0.0) is None


def test_guessing_at_many_accounts_from_one_place_is_one_count() -> None:
    throttle = Throttle()
    let = sum(throttle.begin(AttemptSource(f"user{n}@acme.example", THIEF.address), 0.0) is None for n in range(1000))
    assert let == FREE


def test_guessing_from_many_places_locks_the_account_for_unknown_browsers_and_not_for_a_known_browser() -> None:
    throttle = Throttle()
    let = sum(throttle.begin(AttemptSource(OWNER.account, f"198.51.100.{n}"), 0.0) is None for n in range(200))
    assert let <= FREE + SHARE
    assert isinstance(throttle.begin(OWNER, 0.0), ThrottleWait)
    assert throttle.begin(AttemptSource(OWNER.account, OWNER.address, b"known"), 0.0) is None


def test_a_right_try_takes_its_count_back() -> None:
    throttle = Throttle()
    for _ in range(1000):
        assert throttle.begin(OWNER, 0.0) is None
        throttle.succeed(OWNER, guess_elsewhere=False)


def test_a_day_of_quiet_begins_anew() -> None:
    throttle = Throttle()
    tries_let_through(throttle, THIEF, FREE)
    assert tries_let_through(throttle, THIEF, 1, now=FORGET_AFTER + 1) == 1


def test_only_the_first_refusal_after_a_try_is_new() -> None:
    throttle = Throttle()
    tries_let_through(throttle, THIEF, FREE)
    told = [throttle.begin(THIEF, 0.0) for _ in range(5)]
    assert [wait is not None and wait.newly for wait in told] == [True, False, False, False, False]


def test_a_customer_of_ipv6_is_one_place() -> None:
    throttle = Throttle()
    let = sum(throttle.begin(AttemptSource(f"u{n}@a.example", f"2001:db8::{n:x}"), 0.0) is None for n in range(1, 100))
    assert let == FREE
    assert throttle.begin(AttemptSource("u@a.example", "2001:db8:0:1::1"), 0.0) is None
    assert throttle.begin(AttemptSource("u@a.example", "::ffff:192.0.2.7"), 0.0) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=300))
def test_the_counts_are_bounded(tries: list[tuple[int, int]]) -> None:
    throttle = Throttle(max_keys=20)
    for account, address in tries:
        throttle.begin(AttemptSource(f"{account}@a.example", f"10.0.0.{address}"), 0.0)
        assert len(throttle) <= 20


def test_one_attempt_at_several_accounts_counts_at_each_and_once_at_the_address() -> None:
    throttle = Throttle()
    one, other = AttemptSource("1", THIEF.address), AttemptSource("2", THIEF.address)
    for _ in range(SHARE - 1):
        counted = throttle.begin_each([one, other], 0.0)
        assert all(isinstance(each, Counted) for each in counted)
        throttle.succeed(one, guess_elsewhere=False)
    for _ in range(FREE - SHARE + 1):  # the address counts one attempt, and takes each right one back
        assert throttle.begin(AttemptSource("3", THIEF.address), 0.0) is None
    elsewhere = [AttemptSource("2", f"198.51.100.{number}") for number in range(FREE)]
    assert sum(throttle.begin(source, 0.0) is None for source in elsewhere) == FREE - SHARE + 1


def test_an_attempt_that_is_taken_back_leaves_the_count_as_it_was() -> None:
    throttle = Throttle()
    for _ in range(1000):
        (counted,) = throttle.begin_each([OWNER], 0.0)
        assert isinstance(counted, Counted)
        throttle.take_back(counted)
        throttle.succeed(OWNER, guess_elsewhere=False)


def test_a_password_counts_once_at_another_account() -> None:
    beside = PasswordsBeside(max_keys=2)
    one, two, three = (UUID(int=number) for number in range(3))
    assert [beside.seen(one, two, "hash") for _ in range(3)] == [False, True, True]
    assert [beside.seen(one, two, "other"), beside.seen(one, two, "hash")] == [False, False]
    assert not beside.seen(two, one, "hash")
    assert not beside.seen(three, one, "hash")
    assert not beside.seen(one, two, "hash"), "the number that is kept is bounded"
