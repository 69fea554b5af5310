"""Which retained copies are cleared when, and what a flood of topics costs."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.broker.retained.topics import (
    ENTRY_BYTES,
    MAX_BYTES,
    MAX_TENANT_BYTES,
    REST_SECONDS,
    Retained,
    RetainedTopics,
)

TOPIC = "tenant/acme/device/d1/telemetry"
MANY = 1_000_000


def test_a_topic_is_cleared_at_once_and_then_once_a_minute() -> None:
    topics = RetainedTopics()
    cleared = []
    for second in range(300):
        topics.note(TOPIC, 20)
        cleared += [second for _ in topics.take(second, MANY)]
    assert cleared == [0, 60, 120, 180, 240]
    assert topics.take(300.0 + REST_SECONDS, MANY) == [Retained(TOPIC, 20)], "the last message left a copy as well"
    assert topics.take(1000.0, MANY) == []
    assert (len(topics), topics.room[0]) == (0, 0), "what rests without a new copy is forgotten"


def test_topics_are_due_in_the_order_of_their_messages_and_as_many_as_asked() -> None:
    topics = RetainedTopics()
    names = [f"tenant/acme/device/d{number}/telemetry" for number in range(5)]
    assert [topics.note(name, 1) for name in (*names, names[0])] == [True] * 5 + [False]
    assert [one.topic for one in topics.take(0.0, 2)] == names[:2]
    assert topics.outstanding == 3
    assert [one.topic for one in topics.take(0.0, MANY)] == names[2:]


def test_a_flood_of_one_tenant_leaves_room_for_the_others_and_is_counted() -> None:
    topics = RetainedTopics()
    flood = 100_000
    for number in range(flood):
        topics.note(f"tenant/evil/device/{number}/telemetry", 32_000)
    held = len(topics)
    assert held < flood
    assert topics.room[0] <= MAX_TENANT_BYTES < MAX_BYTES
    assert (topics.without_room, topics.sweep_wanted) == (flood - held, True)
    assert topics.note(TOPIC, 20)
    loads = topics.loads()
    assert (loads["evil"].topics, loads["evil"].due, loads["acme"].topics) == (held, held * 32_000, 1)
    assert topics.newest_of("acme", MANY) == [Retained(TOPIC, 20)]
    topics.take(0.0, MANY)
    topics.note("tenant/evil/device/0/status", 5)
    assert (loads["evil"].topics, loads["evil"].due, loads["acme"].due) == (held, 0, 0)
    assert topics.newest_of("evil", 1) == [Retained(f"tenant/evil/device/{held - 1}/telemetry", 0)]


def test_long_topics_take_the_room_that_they_need() -> None:
    topics = RetainedTopics()
    for number in range(1000):
        topics.note(f"tenant/evil/device/{'x' * 30_000}{number}/telemetry", 1)
    assert len(topics) <= MAX_TENANT_BYTES / 30_000


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 90), st.integers(0, 3))))
def test_no_topic_is_taken_twice_within_its_rest_and_no_copy_is_forgotten(
    steps: list[tuple[int, int, int, int]],
) -> None:
    limit, tenant_limit = 20 * ENTRY_BYTES, 12 * ENTRY_BYTES
    topics = RetainedTopics(max_bytes=limit, max_tenant_bytes=tenant_limit)
    now, taken_at, left = 0.0, dict[str, float](), set[str]()
    for number, tenant, seconds, most in steps:
        topic = f"tenant/t{tenant}/device/{number}/telemetry"
        lost = topics.without_room
        topics.note(topic, number)
        if topics.without_room == lost:
            left.add(topic)
        now += seconds
        for one in topics.take(now, most):
            assert now - taken_at.get(one.topic, -REST_SECONDS) >= REST_SECONDS
            taken_at[one.topic] = now
            left.discard(one.topic)
        assert topics.room[0] <= limit
    for _ in range(2):
        now += REST_SECONDS
        left -= {one.topic for one in topics.take(now, MANY)}
    assert left == set()
    topics.take(now + 2 * REST_SECONDS, MANY)
    assert (len(topics), topics.room[0], topics.loads()) == (0, 0, {})
