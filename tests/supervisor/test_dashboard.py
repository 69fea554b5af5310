"""What the stage of the dashboard puts together."""

from pathlib import Path

import pytest

from appliance.config import Broker, Config
from appliance.supervisor.dashboard import tls_options


@pytest.mark.parametrize(
    ("url", "ca", "options"),
    [
        (None, None, ""),
        ("mqtt://b", None, ""),
        ("unix:///b", None, ""),
        ("mqtts://b", None, " --tls-use-os-certs"),
        ("wss://b", "/etc/a b.pem", " --cafile '/etc/a b.pem'"),
    ],
)
def test_the_ready_line_asks_for_tls_where_the_broker_does(url: str | None, ca: str | None, options: str) -> None:
    config = Config(broker=Broker(url=url, ca_file=None if ca is None else Path(ca)))
    assert tls_options(config) == options
