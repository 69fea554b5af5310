"""The engine against the steps of its rules one by one: what it dismisses without a look would have changed nothing."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

from appliance.alerts.engine.changes import Changes
from appliance.alerts.engine.judge import judge
from appliance.alerts.engine.memories import Memories
from appliance.alerts.engine.observer import RuleObserver
from appliance.alerts.engine.plan import PlannedRule
from appliance.alerts.engine.rule_book import RuleBook
from appliance.alerts.engine.upkeep import Upkeep
from appliance.alerts.engine.watch import Watch
from appliance.alerts.kinds.kind import Event, KindName
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.rule import AlertRule, Scope
from appliance.clock import SystemClock
from appliance.devices.live.state import DeviceState
from appliance.ingest.batch import Reading, Route
from appliance.metrics import Metrics
from appliance.reading import Kind
from appliance.severity import Severity
from tests.alerts.kinds.driver import evaluate, samples
from tests.alerts.kinds.test_model import MADE, random_series
from tests.support.soak import times
from tests.support.tenants import NOW

KEY = ("acme", "d-1")
ROUTE = Route(*KEY, Kind.TELEMETRY, KEY, "acme/d-1", b"", blake2b())
SERIES = times(150)


def a_rule(number: int, kind: KindName, parameters: Mapping[str, Any], version: int = 1) -> AlertRule:
    """Return a rule of the tenant of KEY."""
    return AlertRule(
        tenant_id=KEY[0],
        rule_id=UUID(int=number),
        name=f"Rule {number}",
        description="",
        enabled=True,
        severity=Severity.LOW,
        kind=kind,
        parameters=KINDS[kind].parse(parameters),
        scope=Scope(),
        built_in=None,
        version=version,
        error=None,
        error_at=None,
        created_at=NOW,
        updated_at=NOW,
    )


def reading(index: int, ts: int, metrics: Mapping[str, Any], state: DeviceState) -> Reading:
    """Return a reading of KEY."""
    return Reading(index, ROUTE, state, ts, b"", False, False, dict(metrics), 0, 0, b"", b"")


async def no_rules(tenants: Sequence[str] | None) -> Sequence[AlertRule]:
    """Load nothing: a test hands rules to the book."""
    assert tenants is None
    return []


def book_of(*rules: AlertRule) -> RuleBook:
    """Return a book with rules in force."""
    book = RuleBook(no_rules, 10)
    take_over(book, *rules)
    return book


def take_over(book: RuleBook, *rules: AlertRule) -> None:
    """Let these be the rules in force, and meet KEY again."""
    book._loaded.append((None, rules))
    book.apply()
    book.add(KEY, None, ())


def observer_of(book: RuleBook, memories: Memories) -> RuleObserver:
    """Return an observer that judges by a book."""
    return RuleObserver(book, memories, SystemClock(), Metrics(), lambda: False, lambda _rule, _error: None)


def with_windows(watch: Watch) -> Watch:
    """Give the rules of a watch their memories, empty."""
    for planned in watch.plan.by_key.values():
        if planned.kind.memory is not None:
            watch.remember(planned, planned.kind.memory(planned.parameters))
    return watch


class Happened:
    """What became of each rule, by its number: when it opened, and how often it closed."""

    def __init__(self, rules: int) -> None:
        self.opened: list[list[int]] = [[] for _ in range(rules)]
        self.closed = [0] * rules

    def note(self, changes: Changes) -> None:
        """Take what a committed batch brought."""
        for key, opening in [*changes.past, *changes.opened.items()]:
            self.opened[UUID(key[2]).int].append(opening.started_at)
        for key in [*changes.closed, *[key for key, _ in changes.past]]:
            self.closed[UUID(key[2]).int] += 1


def test_many_rules_of_a_device_open_and_close_as_each_of_them_would_alone() -> None:
    seen = 0
    for seed in range(SERIES):
        chance = random.Random(seed)
        drawn = [chance.choice(sorted(MADE)) for _ in range(chance.randrange(1, 12))]
        rules = [a_rule(number, kind, MADE[kind](chance)) for number, kind in enumerate(drawn)]
        series, book = random_series(chance), book_of(*rules)
        watch, state, found = with_windows(book.watches[KEY]), DeviceState(*KEY), Happened(len(rules))
        observer, rest = observer_of(book, Memories(None)), list(enumerate(series))  # type: ignore[arg-type]
        while rest:
            size = chance.randrange(1, 6)
            batch, rest = [reading(index, *one, state) for index, one in rest[:size]], rest[size:]
            for last in (*[False] * chance.randrange(3), True):
                tried = Changes()
                part = batch if last else batch[: chance.randrange(1, size + 1)]
                judge(book.watches, part, tried)
                if not last:
                    tried.give_back()
            tried.state_rows(1)
            observer.committed(tried, {}, {}, 0, 0)
            found.note(tried)
        for number, rule in enumerate(rules):
            alone = list(evaluate(KINDS[rule.kind], rule.parameters, samples(series)))
            opened = [sample.ts for sample, step in alone if step.event is Event.OPENED]
            closed = [sample.ts for sample, step in alone if step.event is Event.CLOSED]
            assert found.opened[number] == opened, (seed, rule)
            assert found.closed[number] == len(closed), (seed, rule)
            position = watch.positions.get(str(rule.rule_id))
            assert (position is not None and position.state.open) == (len(opened) > len(closed)), (seed, rule)
            seen += len(closed)
    assert seen > 3 * SERIES


WARM = {"metric": "t", "operator": "GT", "value": 8}
MEAN = {**WARM, "aggregate": "avg", "window_seconds": 600}


def judged(book: RuleBook, *values: Any, begin: int) -> Changes:
    """Judge readings a second apart, in one batch that is committed."""
    changes, state = Changes(), DeviceState(*KEY)
    metrics = [value if isinstance(value, dict) else {"t": value} for value in values]
    readings = [reading(number, (begin + number) * 1_000_000, one, state) for number, one in enumerate(metrics)]
    judge(book.watches, readings, changes)
    changes.state_rows(1)
    observer_of(book, Memories(None)).committed(changes, {}, {}, 0, 0)  # type: ignore[arg-type]
    return changes


def opened(changes: Changes) -> set[int]:
    """Return the numbers of the rules that opened and stay open."""
    return {UUID(key[2]).int for key in changes.opened}


def closed(changes: Changes) -> set[int]:
    """Return the numbers of the rules that were open before and closed."""
    return {UUID(key[2]).int for key in changes.closed}


def test_a_reading_within_all_limits_changes_nothing_and_leaves_nothing_to_write() -> None:
    book = book_of(a_rule(0, KindName.THRESHOLD, WARM), a_rule(1, KindName.WINDOW, MEAN))
    with_windows(book.watches[KEY])
    changes = judged(book, 3, 4, 7.9, begin=1)
    assert not changes.drafts
    assert changes.evaluations == 3, "of the window"


def test_an_open_alert_of_one_limit_hides_no_other_limit_and_no_way_back() -> None:
    higher = a_rule(1, KindName.THRESHOLD, {**WARM, "value": 20, "clear_value": 5, "clear_for_seconds": 2})
    lower = a_rule(2, KindName.THRESHOLD, {**WARM, "operator": "LT", "value": 1})
    book = book_of(a_rule(0, KindName.THRESHOLD, WARM), higher, lower)
    assert opened(judged(book, 9, begin=1)) == {0}
    assert opened(judged(book, 21, begin=2)) == {1}
    changes = judged(book, 7, begin=3)
    assert closed(changes) == {0}, "7 is still past the clear_value of the other one"
    assert closed(judged(book, 4, 4, begin=4)) == set(), "the way back must last"
    assert closed(judged(book, {"other": 1}, 4, begin=6)) == {1}
    assert opened(judged(book, 0, begin=8)) == {2}


def test_a_window_that_is_open_is_judged_by_each_reading_until_it_has_closed() -> None:
    book = book_of(a_rule(0, KindName.WINDOW, {**MEAN, "clear_value": 6}))
    with_windows(book.watches[KEY])
    assert opened(judged(book, 9, begin=1)) == {0}
    assert closed(judged(book, 5, begin=2)) == set(), "the average is 7"
    assert closed(judged(book, 4, begin=3)) == {0}
    assert not book.watches[KEY].positions
    assert not judged(book, 4, begin=4).drafts


def test_a_window_goes_on_when_another_rule_changes_and_starts_anew_with_its_own() -> None:
    other, mean = a_rule(0, KindName.THRESHOLD, WARM), a_rule(1, KindName.WINDOW, MEAN)
    book = book_of(other, mean)
    with_windows(book.watches[KEY])
    judged(book, 7, 7, 7, begin=1)
    take_over(book, a_rule(0, KindName.THRESHOLD, {**WARM, "value": 2}, version=2), mean)
    changes = judged(book, 10, begin=4)
    assert opened(changes) == {0}, "the average is 7.75"
    (track,) = book.watches[KEY].tracks
    assert track.memory.take(0, 0) == 7.75
    take_over(book, a_rule(1, KindName.WINDOW, {**MEAN, "value": 3}, version=2))
    assert book.watches[KEY].tracks == ()
    assert not judged(book, 10, begin=5).opened, "it is being filled"
    assert list(book.watches[KEY].filling) == [str(UUID(int=1))]


def test_what_a_changed_limit_finds_is_not_dismissed_by_the_one_before() -> None:
    book = book_of(a_rule(0, KindName.THRESHOLD, WARM))
    assert not judged(book, 6, begin=1).drafts
    take_over(book, a_rule(0, KindName.THRESHOLD, {**WARM, "value": 5}, version=2))
    assert opened(judged(book, 6, begin=2)) == {0}


def test_a_rule_whose_memory_raises_is_reported_and_the_others_go_on(monkeypatch: Any) -> None:
    book = book_of(a_rule(0, KindName.WINDOW, MEAN), a_rule(1, KindName.WINDOW, {**MEAN, "value": 2}))
    (broken, _) = with_windows(book.watches[KEY]).tracks

    def fails(_ts: int, _value: float) -> float:
        raise OverflowError("too large")

    class Broken:
        state = None
        take = staticmethod(fails)

    monkeypatch.setattr(broken, "memory", Broken())
    changes = judged(book, 9, begin=1)
    assert opened(changes) == {1}
    assert [planned.rule.name for planned, _ in changes.failed] == ["Rule 0"]
    assert list(book._tenants[KEY[0]]._rules) == [a_rule(1, KindName.WINDOW, {**MEAN, "value": 2})]


def test_states_are_read_of_devices_alone_that_readings_are_judged_of() -> None:
    assert book_of(a_rule(0, KindName.NO_DATA, {"metric": "t", "seconds": 60})).judged({KEY}) == set()
    assert book_of(a_rule(0, KindName.THRESHOLD, WARM)).judged({KEY, ("acme", "nobody")}) == {KEY}


def test_windows_that_are_not_filled_are_counted_when_the_metrics_are_asked_for() -> None:
    async def mark(_planned: PlannedRule, _error: str, _now: datetime) -> None:
        raise AssertionError("no rule raised")

    metrics, book = Metrics(), book_of(a_rule(0, KindName.WINDOW, MEAN))
    memories = Memories(None)  # type: ignore[arg-type]
    Upkeep(None, "one", SystemClock(), book, memories, metrics, mark, 1.0)  # type: ignore[arg-type]
    assert b"appliance_windows_filling 0.0" in metrics.exposition()
    judged(book, 9, begin=1)
    memories.want(KEY, book.watches[KEY])
    assert b"appliance_windows_filling 1.0" in metrics.exposition()
