"""What the watchdog takes for a sign of life of the broker, and which URL it calls."""

from types import SimpleNamespace
from typing import cast

import pytest

from appliance.broker.clients import KEEP_ALIVE_SECONDS, _keep_alive_elsewhere
from appliance.config import Config, Secret
from appliance.config.schema import Delivery
from appliance.errors import ConfigurationError
from appliance.mqtt.link import LinkState
from appliance.supervisor.broker import BrokerAccess
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.outgoing import outgoing_network
from appliance.supervisor.watching import _broker_passed, _heartbeat


def test_a_broker_elsewhere_is_there_while_our_session_hears_it() -> None:
    client = SimpleNamespace(link=SimpleNamespace(state=LinkState.READY), heard_at=7.0)
    passed = _broker_passed(cast("BrokerAccess", SimpleNamespace(listener_probe=None, client=client)))
    assert passed() == passed() == 7.0
    client.heard_at = 8.0
    assert passed() == 8.0
    client.link.state, client.heard_at = LinkState.DOWN, 0.0
    assert passed() == 8.0


def test_of_our_own_broker_the_probe_of_the_listener_counts() -> None:
    probe = SimpleNamespace(arrived=3)
    passed = _broker_passed(cast("BrokerAccess", SimpleNamespace(listener_probe=probe)))
    assert passed() == 3
    probe.arrived = 4
    assert passed() == 4


@pytest.mark.parametrize(("seconds", "keep_alive"), [(60, KEEP_ALIVE_SECONDS), (3600, KEEP_ALIVE_SECONDS), (10, 5)])
def test_a_broker_elsewhere_is_asked_twice_an_interval(seconds: float, keep_alive: int) -> None:
    assert _keep_alive_elsewhere(Config(delivery=Delivery(heartbeat_seconds=seconds))) == keep_alive


def test_the_url_may_stand_on_any_network_and_a_wrong_one_is_told_without_quoting_it() -> None:
    def made(url: str | None) -> object:
        config = Config(delivery=Delivery(heartbeat_url=None if url is None else Secret(url)))
        return _heartbeat(cast("Foundation", SimpleNamespace(config=config)), outgoing_network(config))

    assert made(None) is None
    assert made("http://127.0.0.1:8000/marked") is not None
    with pytest.raises(ConfigurationError, match=r"^delivery.heartbeat_url: ") as caught:
        made("https://watcher.example:99999/marked")
    assert "marked" not in str(caught.value)
