"""The fleet: who is in it, in which order they speak, when a run is over."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.simulate.devices import Behaviour, SimulatedMessage
from appliance.simulate.fleet import DEFAULT_MIX, Fleet, deal, parse_mix
from appliance.simulate.schedule import Schedule

NOW = 1_790_000_000.0


def said(fleet: Fleet, count: int) -> list[tuple[int, SimulatedMessage]]:
    return [fleet.speak(NOW + fleet.due) for _ in range(count)]


def test_a_mix_is_read() -> None:
    assert parse_mix("normal=80, noisy=2.5,new") == {Behaviour.NORMAL: 80, Behaviour.NOISY: 2.5, Behaviour.NEW: 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nomal=3", "one of normal, noisy"),
        ("", "is no behaviour"),
        ("normal=x", "no weight of normal"),
        ("normal=-1", "from 0"),
        ("normal=nan", "from 0"),
        ("normal=0", "all weights are 0"),
    ],
)
def test_a_wrong_mix_is_refused_with_its_mend(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_mix(text)


@given(
    st.dictionaries(st.sampled_from(Behaviour), st.floats(0.1, 1000), min_size=1),
    st.integers(1, 300),
)
def test_a_mix_is_dealt_in_proportion(mix: dict[Behaviour, float], devices: int) -> None:
    dealt = Counter(deal(mix, devices))
    assert dealt.total() == devices
    assert set(dealt) <= set(mix)
    if devices >= len(mix):
        assert set(dealt) == set(mix)
    for behaviour, count in dealt.items():
        share = mix[behaviour] / sum(mix.values()) * devices
        assert count <= max(share, 1) + 1
        assert count >= share - len(mix)


def test_the_same_seed_is_the_same_fleet() -> None:
    behaviours = deal(DEFAULT_MIX, 30)
    first, second = (Fleet("acme", behaviours, seed=5, run="r") for _ in range(2))
    assert said(first, 500) == said(second, 500)
    assert said(Fleet("acme", behaviours, seed=6, run="r"), 500) != said(
        Fleet("acme", behaviours, seed=5, run="r"), 500
    )


def test_time_only_goes_forward_and_everybody_has_a_turn() -> None:
    fleet = Fleet("acme", [Behaviour.NORMAL] * 20, seed=1, run="r")
    times = []
    heard = Counter[int]()
    for _ in range(400):
        times.append(fleet.due)
        heard[fleet.speak(NOW)[0]] += 1
    assert times == sorted(times)
    assert set(heard) == set(range(20))
    assert max(heard.values()) - min(heard.values()) <= 4


def test_devices_have_the_same_names_in_each_run() -> None:
    topics = [
        {message.topic for _, message in said(Fleet("acme", [Behaviour.NORMAL] * 3, seed=seed, run=str(seed)), 200)}
        for seed in (1, 2)
    ]
    assert topics[0] == topics[1]


def test_without_a_rate_the_fleet_keeps_its_own_pace() -> None:
    assert Schedule().due(17, 3.25) == 3.25


def test_a_rate_spaces_messages_evenly() -> None:
    schedule = Schedule(rate=200)
    assert [schedule.due(sent, 99.0) for sent in (0, 1, 200)] == [0, 0.005, 1]
    assert Schedule(rate=0).due(1000, 99.0) == 0


def test_a_run_is_over_exactly_at_its_bound() -> None:
    assert [Schedule(messages=3).over(sent, 1e9) for sent in (2, 3)] == [False, True]
    assert [Schedule(duration=2).over(10**9, due) for due in (1.999, 2)] == [False, True]
    assert not Schedule().over(10**9, 1e9)
