"""What the stage of the broker tells of it."""

import pytest

from appliance.mqtt.transport.address import parse
from appliance.supervisor.broker import by_mqtt


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://b:1884", "b", 1884),
        ("mqtts://b", "b", 8883),
        ("ws://b:8083", "b", 1883),
        ("wss://[::1]", "::1", 8883),
        ("unix:///run/mqtt.sock", "localhost", 1883),
    ],
)
def test_devices_are_sent_to_the_port_for_mqtt(url: str, host: str, port: int) -> None:
    assert by_mqtt(parse(url)) == (host, port)
