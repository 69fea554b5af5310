"""The way out, as the operator's file has it: networks, ports, deadlines, and the mail server."""

from dataclasses import replace
from pathlib import Path

from appliance.config import Config
from appliance.config.schema import Mail
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.dialler import Dialler, system_dialler
from appliance.delivery.outgoing.mail_server import MailServer, MailTls
from appliance.delivery.outgoing.network import Relay
from appliance.delivery.outgoing.tls import MAX_PEM, client_context
from appliance.errors import ConfigurationError


def outgoing_network(config: Config) -> Dialler:
    """Return the network of senders, one for the process. Raises ConfigurationError."""
    delivery = config.delivery
    deadlines = Deadlines(
        name=delivery.name_timeout,
        connect=delivery.connect_timeout,
        tls=delivery.tls_timeout,
        write=delivery.write_timeout,
        read=delivery.read_timeout,
        total=delivery.total_timeout,
    )
    dialler = system_dialler(delivery.allow_networks, delivery.allow_ports, config.web.public_url, deadlines)
    return replace(dialler, relay=_relay(config.mail, dialler))


def _relay(mail: Mail, dialler: Dialler) -> Relay | None:
    """Return the mail server, reached on any network; None when there is none. Raises ConfigurationError."""
    if mail.host is None or mail.sender is None:  # one without the other is refused by the configuration
        return None
    server = MailServer(
        mail.host.removeprefix("[").removesuffix("]"),
        mail.port,
        MailTls(mail.tls),
        mail.username,
        None if mail.password is None else mail.password.reveal(),
        None if mail.ca is None else _certificates(mail.ca),
    )
    return Relay(server, mail.sender, dialler.anywhere())


def _certificates(path: Path) -> str:
    """Return the certificates in a file. Raises ConfigurationError."""
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(MAX_PEM + 1)
        client_context(text, ())
    except OSError as error:
        raise ConfigurationError(f"mail.ca: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"mail.ca: {path} is not in PEM form") from None
    except ValueError as error:
        raise ConfigurationError(f"mail.ca: {path} {error}") from None
    return text
