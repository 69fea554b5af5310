"""The table of kinds."""

from appliance.alerts.kinds.kind import KindName
from appliance.alerts.kinds.table import KINDS
from tests.alerts.kinds.driver import evaluate, samples


def test_every_kind_has_its_entry() -> None:
    assert set(KINDS) == set(KindName)
    assert all(kind.name is name and kind.alert_type.value == name.value.upper() for name, kind in KINDS.items())


def test_no_reading_judges_a_silence_and_its_metric_is_named() -> None:
    kind = KINDS[KindName.NO_DATA]
    assert (kind.step, kind.memory, kind.refill) == (None, None, None)
    of_one = kind.parse({"seconds": 60, "metric": "t"})
    assert kind.named(of_one) == {"t"}
    assert kind.named(kind.parse({"seconds": 60})) == frozenset()
    assert list(evaluate(kind, of_one, samples([(1, {"t": 1})]))) == []


def test_a_series_leaves_out_what_is_not_newer_and_what_lacks_the_metric() -> None:
    kind = KINDS[KindName.CHANGE]
    series = [(5, {"t": 1}), (5, {"t": 2}), (4, {"t": 3}), (6, {"n": 1}), (7, {"t": 4})]
    judged = [sample.ts for sample, _ in evaluate(kind, kind.parse({"metric": "t"}), samples(series))]
    assert judged == [5, 7]


def test_a_sample_tells_the_newest_value_with_and_without_its_reading() -> None:
    told = [
        [sample.newest("a"), sample.before("a"), sample.newest("b"), sample.before("b")]
        for sample in samples([(1, {"a": 1}), (2, {"b": 2}), (3, {"a": 3})])
    ]
    assert told == [
        [(1, 1), None, None, None],
        [(1, 1), (1, 1), (2, 2), None],
        [(3, 3), (1, 1), (2, 2), (2, 2)],
    ]
