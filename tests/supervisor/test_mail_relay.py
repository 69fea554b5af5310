"""The section [mail] becomes the mail server of e-mail integrations."""

from pathlib import Path

import pytest

from appliance.config.schema import Mail
from appliance.config.secret import Secret
from appliance.delivery.outgoing.network import Destination
from appliance.errors import ConfigurationError
from appliance.supervisor.mail_relay import mail_relay
from tests.delivery.senders.network import network
from tests.support.certificates import Authority

PASSWORD = "kX9-planted-secret"


async def test_the_section_becomes_a_server_that_may_stand_anywhere(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(Authority().pem)
    mail = Mail(host="10.0.0.5", sender="appliance@a.example", username="a", password=Secret(PASSWORD), ca=ca)
    relay = mail_relay(mail, network())
    assert relay is not None
    server = relay.server
    assert (server.host, server.port, server.tls, server.username) == ("10.0.0.5", 587, "starttls", "a")
    assert (server.password, server.ca, relay.sender) == (PASSWORD, ca.read_text(), "appliance@a.example")
    assert PASSWORD not in repr(relay)
    assert await relay.network.check(Destination("10.0.0.5", 25, frozenset(), encrypted=False))


def test_without_the_section_there_is_none() -> None:
    assert mail_relay(Mail(), network()) is None


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot read"), (b"nonsense", "no certificate"), (b"\xff", "not in PEM form")]
)
def test_a_file_without_a_certificate_is_refused_at_start(tmp_path: Path, content: bytes | None, message: str) -> None:
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as refusal:
        mail_relay(Mail(host="a", sender="a@b", ca=ca), network())
    assert str(refusal.value).startswith("mail.ca: ")
