"""The operator's file becomes the network of senders, and its section [mail] the mail server of e-mail integrations."""

from pathlib import Path

import pytest

from appliance.config import Config
from appliance.config.schema import Delivery, Mail
from appliance.config.secret import Secret
from appliance.delivery.outgoing.network import Destination, NotAllowed
from appliance.errors import ConfigurationError
from appliance.supervisor.outgoing import outgoing_network
from tests.support.certificates import Authority

PASSWORD = "kX9-planted-secret"


async def test_the_section_becomes_a_server_that_may_stand_anywhere(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(Authority().pem)
    mail = Mail(host="10.0.0.5", sender="appliance@a.example", username="a", password=Secret(PASSWORD), ca=ca)
    relay = outgoing_network(Config(mail=mail)).relay
    assert relay is not None
    server = relay.server
    assert (server.host, server.port, server.tls, server.username) == ("10.0.0.5", 587, "starttls", "a")
    assert (server.password, server.ca, relay.sender) == (PASSWORD, ca.read_text(), "appliance@a.example")
    assert PASSWORD not in repr(relay)
    assert await relay.network.check(Destination("10.0.0.5", 25, frozenset(), encrypted=False))


async def test_networks_ports_and_deadlines_are_those_of_the_file() -> None:
    delivery = Delivery(allow_networks=("10.0.0.0/8",), allow_ports=(2500,), read_timeout=3.0)
    dialler = outgoing_network(Config(delivery=delivery))
    assert (dialler.deadlines.read, dialler.deadlines.total) == (3.0, 10.0)
    assert await dialler.check(Destination("10.1.2.3", 25, frozenset(), encrypted=False))
    assert await dialler.check(Destination("8.8.8.8", 2500, frozenset(), encrypted=True))
    with pytest.raises(NotAllowed):
        await dialler.check(Destination("192.168.0.1", 443, frozenset({443}), encrypted=True))


def test_without_the_section_there_is_none() -> None:
    assert outgoing_network(Config()).relay is None


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read"), (b"nonsense", "no certificate"), (b"\xff", "not in PEM form")]
)
def test_a_file_without_a_certificate_is_refused_at_start(tmp_path: Path, content: bytes | None, message: str) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        outgoing_network(Config(mail=Mail(host="a", sender="a@b", ca=ca)))
    assert str(refusal.value).startswith("mail.ca: ")
