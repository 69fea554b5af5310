"""Addresses of brokers as people write them."""

import pytest

from appliance.mqtt.transport import Tcp, Tls, TlsFiles, Unix, WebSocket, transport_to
from appliance.mqtt.transport.address import Address, parse

PASSWORD = "thisisverysecret"


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("mqtt://b", Address("mqtt", "b", 1883), "mqtt://b:1883"),
        ("MQTT://Broker.Example:1884/", Address("mqtt", "broker.example", 1884), "mqtt://broker.example:1884"),
        ("mqtt://b:", Address("mqtt", "b", 1883), "mqtt://b:1883"),
        ("mqtts://10.0.0.1", Address("mqtts", "10.0.0.1", 8883), "mqtts://10.0.0.1:8883"),
        ("mqtts://[::1]:1", Address("mqtts", "::1", 1), "mqtts://[::1]:1"),
        ("mqtt://[fe80::1%25eth0]", Address("mqtt", "fe80::1%eth0", 1883), "mqtt://[fe80::1%eth0]:1883"),
        ("ws://b", Address("ws", "b", 80, "/mqtt"), "ws://b:80/mqtt"),
        ("wss://b/", Address("wss", "b", 443, "/"), "wss://b:443/"),
        ("wss://b:8443/a%20b/C", Address("wss", "b", 8443, "/a%20b/C"), "wss://b:8443/a%20b/C"),
        (f"wss://b/m?token={PASSWORD}", Address("wss", "b", 443, f"/m?token={PASSWORD}"), "wss://b:443/m"),
        ("unix:///run/m.sock", Address("unix", path="/run/m.sock"), "unix:///run/m.sock"),
        ("unix:///run/a%20%c3%bc", Address("unix", path="/run/a ü"), "unix:///run/a ü"),
    ],
)
def test_every_scheme_has_its_parts_and_is_shown_without_secrets(text: str, address: Address, shown: str) -> None:
    assert parse(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tcp://b:1883", "tcp:// is not a scheme that is known here; write mqtt://"),
        ("ssl://b", "ssl:// is not a scheme that is known here; write mqtts://"),
        ("tls://b", "write mqtts://"),
        ("https://b", "write wss://"),
        ("http://b", "write ws://"),
        ("ipc:///a", "write unix://"),
        ("amqp://b", "must be mqtt://HOST"),
        ("broker.example:1883", "must be mqtt://HOST"),
        ("mqtt:b", "must be mqtt://HOST"),
        ("", "must be mqtt://HOST"),
        ("mqtt://", "has no host; write mqtt://HOST"),
        ("mqtt:///a", "has no host"),
        ("wss://:443", "has a host or a port that cannot be"),
        ("mqtt://b:0", "has a port that cannot be; a port is a number from 1 to 65535"),
        ("mqtt://b:65536", "has a port that cannot be"),
        ("mqtt://b:x", "has a host or a port that cannot be"),
        ("mqtt://b:1:2", "has a host or a port that cannot be"),
        ("mqtt://::1", "IPv6 stands in brackets"),
        ("mqtt://[::1", "IPv6 stands in brackets"),
        ("mqtt://[::1]x:1", "has a host or a port that cannot be"),
        ("mqtt://[1.2.3.4]", "is not an address"),
        ("mqtt://[fe80::1%eth0]", "has a host or a port that cannot be"),
        ("mqtt://1.2.3.400", '"1.2.3.400" is not an address: IPv4 has four numbers up to 255'),
        ("mqtt://a_b/c", "has a path or a query, which only ws:// and wss:// have; write mqtt://HOST:PORT"),
        ("mqtts://b?a=1", "has a path or a query"),
        ("mqtt://b#c", "has a #"),
        ("ws://b/m#c", "has a #"),
        ("ws://b/a b", "has a character that an address cannot have"),
        ("ws://b\t/", "has a character that an address cannot have"),
        ("mqtt://bücher.example", "write host names in ASCII"),
        ("mqtt://a%62", "has a host or a port that cannot be"),
        ("unix://run/m.sock", "write three slashes, as in unix:///run/mosquitto/mqtt.sock"),
        ("unix:///", "has no path of a socket"),
        ("unix:/run/m.sock", "must be mqtt://HOST"),
        ("unix:///a?b", "has a query"),
        ("unix:///a%00b", "has a path that no Unix socket has: at most 107 bytes"),
        (f"unix:///{'a' * 107}", "has a path that no Unix socket has"),
        ("mqtt://" + "a" * 254, "has a host or a port that cannot be"),
        ("ws://b/" + "a" * 2000, "is longer than 2000 characters"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"mqtt://me:{PASSWORD}@b",
        f"mqtts://{PASSWORD}@b:1",
        f"mqtt://me:{PASSWORD}/x@b",
        f"wss://me:{PASSWORD}#@b/mqtt",
        f"unix://me:{PASSWORD}@/run/m.sock",
        f"mqtt://me:{PASSWORD}",
        f"mqtt://me:{PASSWORD} @b",
        f"me:{PASSWORD}@b",
        f"tcp://me:{PASSWORD}@b",
    ],
)
def test_a_password_in_an_address_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("ws://b", "b"),
        ("ws://b:8080/x", "b:8080"),
        ("wss://[::1]", "[::1]"),
        ("wss://[fe80::1%25eth0]:9001", "[fe80::1]:9001"),
        ("ws://b:443", "b:443"),
    ],
)
def test_a_host_header_has_brackets_and_a_port_that_is_not_the_usual_one(text: str, authority: str) -> None:
    assert parse(text).authority == authority


def test_every_address_has_its_transport() -> None:
    files = TlsFiles()
    assert transport_to(parse("mqtt://b"), files) == Tcp("b", 1883)
    assert transport_to(parse("unix:///m"), files) == Unix("/m")
    assert transport_to(parse("mqtts://b"), files) == Tls(Tcp("b", 8883), files, "b")
    assert transport_to(parse("ws://b"), files) == WebSocket(Tcp("b", 80), "b", "/mqtt")
    secured = transport_to(parse(f"wss://b:1/m?token={PASSWORD}"), files)
    assert secured == WebSocket(Tls(Tcp("b", 1), files, "b"), "b:1", f"/m?token={PASSWORD}")
    assert secured.name == "b:1/m"
