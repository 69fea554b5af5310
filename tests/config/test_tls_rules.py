"""Rules of the keys of TLS, and of ports beside one another."""

import pytest

from appliance.config import load
from tests.support.configuring import fault_of, load_text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web.certificate_file = 'a'", "1: web.certificate_file: is for a dashboard under TLS; set web.tls too"),
        ("web.plain = false", "1: web.plain: false leaves no way in; set web.tls too"),
        ("web.tls = true\nweb.key_file = 'a'", "2: web.key_file: needs web.certificate_file too"),
        ("broker.tls_port = 0\nbroker.key_file = 'a'", "2: broker.key_file: needs broker.certificate_file too"),
        ("broker.certificate_file = 'a'", "1: broker.certificate_file: needs broker.tls_port too"),
        ("broker.plain = false", "1: broker.plain: false leaves no way in; set broker.tls_port too"),
        ("broker.url = 'mqtt://b'\nbroker.plain = false", "2: broker.plain: is for the embedded broker; leave it out"),
        ("broker.url = 'mqtt://b'\nbroker.key_file = 'a'", "2: broker.key_file: is for the embedded broker"),
        ("broker.tls_port = 8080", "1: broker.tls_port: broker.tls_port and web.port are both 8080; choose another"),
        ("broker.tls_port = 1883", "1: broker.tls_port: broker.tls_port and broker.port are both 1883"),
        ("web.tls_names = ['a.example']", "1: web.tls_names: is for certificates; set web.tls or broker.tls_port too"),
        ("web.tls = true\nweb.tls_names = ['1.2.3']", '2: web.tls_names: "1.2.3" is neither a host name nor an'),
        ("web.tls = true\nweb.tls_names = ['a..b']", '2: web.tls_names: "a..b" is neither a host name nor an'),
        ("web.tls = true\nweb.tls_names = ['-a']", '2: web.tls_names: "-a" is neither a host name nor an address'),
        ("web.tls = true\nweb.tls_names = ['*.b']", '2: web.tls_names: its item "*.b" must be a host name or an IP'),
        ("web.tls = true\nweb.tls_names = ['fe80::1::2']", '2: web.tls_names: "fe80::1::2" is neither a host name'),
    ],
)
def test_keys_that_do_not_go_together(text: str, message: str) -> None:
    assert message in fault_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "broker.plain = false\nbroker.tls_port = 1883",  # the port in clear text is not opened then
        "broker.url = 'mqtt://b'\nbroker.tls_port = 8883",  # as broker.port: an image sets it for all
        "web.tls = true\nweb.tls_names = ['gateway.example', '192.168.1.20', 'fd12::20', 'gw_7', 'a.example.']",
        "web.tls = true\nweb.certificate_file = 'both.pem'",
        "broker.tls_port = 0\nweb.tls_names = ['a.example']",
    ],
)
def test_keys_that_go_together(text: str) -> None:
    load_text(text)


def test_names_are_given_by_the_environment() -> None:
    given = {"APPLIANCE_WEB_TLS": "true", "APPLIANCE_WEB_TLS_NAMES": "gateway.example, 192.168.1.20"}
    assert load(None, given).config.web.tls_names == ("gateway.example", "192.168.1.20")
