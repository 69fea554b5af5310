"""What the stage of the dashboard puts together."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.children.mosquitto_files import DeviceListener
from appliance.config import Broker, Config, Web
from appliance.runtime.addresses import web_address
from appliance.supervisor.certificates import web_hosts
from appliance.supervisor.dashboard import listener_address, tls_options
from appliance.tls.certificates import Certificate
from appliance.web.devices.commands import lines
from appliance.web.devices.port import ListenerAddress
from tests.support.web.tls import NoCertificates, Shown


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


@pytest.mark.parametrize(
    ("web", "broker", "proxies", "expected"),
    [
        (None, None, (), ListenerAddress(None, 1883)),
        (True, None, (), ListenerAddress(None, 1883, "", " --cacert ca.crt")),
        (True, None, ("10.0.0.1",), ListenerAddress(None, 1883)),
        (False, None, (), ListenerAddress(None, 1883)),
        (None, True, (), ListenerAddress(None, 8883, " --cafile ca.crt")),
        (True, False, (), ListenerAddress(None, 8883, " --tls-use-os-certs", " --cacert ca.crt", "gw.example")),
    ],
)
def test_the_ready_lines_use_tls_wherever_it_is_spoken_and_name_the_ca_where_it_is_ours(
    *, web: bool | None, broker: bool | None, proxies: tuple[str, ...], expected: ListenerAddress
) -> None:
    nowhere = Path("/nonexistent")
    certificates = NoCertificates()
    certificates.web, certificates.broker = (
        None if own is None else Shown(nowhere, nowhere, ("10.0.0.7", "*.example", "gw.example"), own=own)
        for own in (web, broker)
    )
    listener = DeviceListener("0.0.0.0", 1883, bind_client_ids=False, tls_port=None if broker is None else 8883)
    config = Config(web=Web(trusted_proxies=proxies))
    assert listener_address(config, certificates, ("10.0.0.7", 1883), listener) == expected


def test_curl_is_given_the_ca_for_https_alone() -> None:
    listener = ListenerAddress(None, 1883, "", " --cacert ca.crt")
    over_tls, plain = (lines(listener, "t", "d", f"{scheme}://edge", "edge").curl for scheme in ("https", "http"))
    assert (over_tls[:22], plain[:7]) == ("curl --cacert ca.crt -", "curl -H")


@pytest.mark.parametrize(
    ("host", "names", "own", "expected"),
    [
        ("10.0.0.7", None, True, ["10.0.0.7"]),
        ("10.0.0.7", ("edge-1", "10.0.0.7"), True, ["10.0.0.7"]),
        ("10.0.0.7", ("*.farm.example", "edge.farm.example", "10.0.0.7", "fd12::7"), False, ["edge.farm.example"]),
        ("10.0.0.7", ("*.farm.example",), False, ["10.0.0.7"]),
    ],
)
def test_links_lead_to_the_name_of_a_certificate_by_file_and_else_to_the_address(
    host: str, names: tuple[str, ...] | None, expected: list[str], *, own: bool
) -> None:
    ends, nowhere = datetime(2027, 1, 1, tzinfo=UTC), Path("/nonexistent")
    shown = None if names is None else Certificate(nowhere, nowhere, names, ends, "AA", own, "")
    assert web_hosts(Web(host=host), shown) == expected


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert web_address("fd12::7", 8080, tls=True) == "https://[fd12::7]:8080"
    assert web_address("10.0.0.7", 80, tls=False) == "http://10.0.0.7:80"
