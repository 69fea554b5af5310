"""Each behaviour does what its name says, and the same seed does the same again."""

import json
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from appliance.devices.topics import DeviceTopic, parse
from appliance.ingest.envelope import Decoder, Envelope
from appliance.reading import Kind, Reason, Refusal
from appliance.simulate.devices import BEHAVIOURS, Behaviour, SimulatedIdentity, SimulatedMessage
from appliance.simulate.refused import CATALOGUE, Speaker
from appliance.simulate.sensors import EMPTY_VOLTS, FULL_VOLTS, Battery, Climate

NOW = 1_790_000_000.0
IDENTITY = SimulatedIdentity("acme", "sim-00001", "run1")
CHECKED_LATER = {Reason.PAYLOAD_TOO_LARGE, Reason.TENANT_MISMATCH, Reason.DEVICE_MISMATCH, Reason.TIMESTAMP_TOO_OLD}
"""Reasons that admission gives, with limits and the topic at hand."""


def talk(behaviour: Behaviour, count: int, seed: int = 1) -> list[tuple[SimulatedMessage, float]]:
    device = BEHAVIOURS[behaviour](IDENTITY, Random(seed))
    said = []
    now = NOW
    for _ in range(count):
        message, pause = device.speak(now)
        said.append((message, pause))
        now += pause
    return said


def values(said: list[tuple[SimulatedMessage, float]]) -> list[dict[str, Any]]:
    return [json.loads(message.payload) for message, _ in said if message.topic.endswith("/telemetry")]


@pytest.mark.parametrize("behaviour", Behaviour)
def test_the_same_seed_says_the_same(behaviour: Behaviour) -> None:
    assert talk(behaviour, 200) == talk(behaviour, 200)
    assert talk(behaviour, 200) != talk(behaviour, 200, seed=2)


@pytest.mark.parametrize("behaviour", [kind for kind in Behaviour if kind is not Behaviour.MALFORMED])
def test_all_but_malformed_devices_send_what_the_appliance_takes(behaviour: Behaviour) -> None:
    decoder = Decoder()
    for message, _ in talk(behaviour, 300):
        topic = parse(message.topic)
        assert isinstance(topic, DeviceTopic)
        envelope = decoder.decode(message.payload, topic.kind)
        assert isinstance(envelope, Envelope)
        assert message.refusal is None
        if topic.kind is not Kind.STATUS:
            assert message.ts is not None
            assert (envelope.ts, envelope.seq) == (message.ts * 1000, message.seq)


@pytest.mark.parametrize("behaviour", [kind for kind in Behaviour if kind is not Behaviour.NEW])
def test_a_device_numbers_its_messages_without_a_gap(behaviour: Behaviour) -> None:
    assert [message.seq for message, _ in talk(behaviour, 200)] == list(range(200))


def test_a_normal_device_speaks_about_once_a_second_with_plausible_values() -> None:
    said = talk(Behaviour.NORMAL, 300)
    assert all(0.9 <= pause <= 1.1 for _, pause in said)
    readings = values(said)
    assert len(readings) == 290  # every 30th is a heartbeat
    for before, after in pairwise(readings):
        assert abs(after["temperature"] - before["temperature"]) < 1
        assert 5 < after["temperature"] < 35
        assert 0 <= after["humidity"] <= 100
        assert 3 < after["battery"] <= FULL_VOLTS


def test_a_noisy_device_exceeds_the_default_limit_in_its_bursts() -> None:
    said = talk(Behaviour.NOISY, 100)
    burst = sum(pause for _, pause in said[:-1])
    assert 50 + 10 * burst < 100  # burst 50, rate 10/s
    assert said[-1][1] == 10


def test_a_dying_device_grows_rare_then_silent_then_has_a_new_battery() -> None:
    said = talk(Behaviour.DYING, 120)
    silent = [index for index, (_, pause) in enumerate(said) if pause > 100]
    assert silent
    pauses = [pause for _, pause in said[: silent[0]]]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4
    volts = [reading["battery"] for reading in values(said)]
    assert volts[silent[0]] < EMPTY_VOLTS + 0.1
    assert volts[silent[0] + 1] == FULL_VOLTS


def test_a_flapping_device_announces_itself_and_says_goodbye() -> None:
    said = talk(Behaviour.FLAPPING, 100)
    words = [message.payload for message, _ in said if message.topic.endswith("/status")]
    assert words[:4] == [b"online", b"offline", b"online", b"offline"]
    assert all(pause >= 5 for message, pause in said if message.payload == b"offline")


def test_a_new_device_is_never_seen_twice_in_any_run() -> None:
    topics = [message.topic for message, _ in talk(Behaviour.NEW, 100)]
    assert len(set(topics)) == 100
    other = BEHAVIOURS[Behaviour.NEW](SimulatedIdentity("acme", "sim-00001", "run2"), Random(1))
    assert other.speak(NOW)[0].topic not in topics


@pytest.mark.parametrize("example", CATALOGUE, ids=lambda example: example.reason)
def test_each_refused_message_earns_its_reason(example: Any) -> None:
    topic, payload = example.message(Speaker("acme", "sim-00001", 7, round(NOW * 1000)))
    parsed = parse(topic)
    if example.reason is Reason.BAD_TOPIC_FORMAT:
        assert isinstance(parsed, Refusal)
        return
    assert isinstance(parsed, DeviceTopic)
    verdict = Decoder().decode(payload, parsed.kind)
    if example.reason not in CHECKED_LATER:
        assert isinstance(verdict, Refusal)
        assert verdict.reason is example.reason
        return
    assert isinstance(verdict, Envelope) or example.reason is Reason.PAYLOAD_TOO_LARGE
    if isinstance(verdict, Envelope):
        assert {
            Reason.TENANT_MISMATCH: verdict.tenant_id not in (None, "acme"),
            Reason.DEVICE_MISMATCH: verdict.device_id not in (None, "sim-00001"),
            Reason.TIMESTAMP_TOO_OLD: verdict.ts is not None and verdict.ts < (NOW - 365 * 86_400) * 1e6,
        }[example.reason]
    else:
        assert len(payload) > 16_384


def test_a_malformed_device_goes_through_the_whole_catalogue() -> None:
    said = talk(Behaviour.MALFORMED, len(CATALOGUE))
    assert {message.refusal for message, _ in said} == {example.reason for example in CATALOGUE}


def test_the_climate_stays_near_its_place() -> None:
    climate = Climate(Random(3), mean=20, humid=50)
    temperatures = [climate.read(NOW + minute * 60)[0] for minute in range(3 * 1440)]
    assert 16 < min(temperatures) < 19
    assert 21 < max(temperatures) < 24


def test_a_battery_never_goes_below_nothing() -> None:
    battery = Battery(volts=0.05, drain=0.04)
    assert [battery.read() for _ in range(4)] == [0.05, 0.01, 0, 0]
    assert battery.charge == 0
