"""``email``: the notice as a mail, by the appliance's mail server or one of the integration's own.

==========================================  ==========================================
2xx to the mail                             delivered; recipients that were refused are named
4xx at any step, 421 included               retry
5xx at any step                             refused
every recipient refused                     retry when one of them was for now, else refused
no STARTTLS on offer, no way to sign in     refused, and nothing was sent
silence, a closed stream, no SMTP           retry; after the whole mail was sent it may have arrived
certificate, TLS, address                   refused
no name, no connection, no handshake        unreached
==========================================  ==========================================
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import trio

from appliance.delivery.notices.mail import mail
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outgoing.mail_server import MailServer, MailTls
from appliance.delivery.outgoing.network import NO_RELAY, RELAYED, Destination, Network, NotAllowed, Relay, Unreached
from appliance.delivery.outgoing.smtp import BrokenOff, Mail, Progress, Rejected, Unsuitable, deliver, destination
from appliance.delivery.outgoing.smtp_replies import Reply
from appliance.delivery.outgoing.tls import TlsRefused
from appliance.delivery.outgoing.urls import canonical_host
from appliance.delivery.senders.fields import CA, checked
from appliance.delivery.senders.masking import Mask
from appliance.delivery.senders.sender import ANSWER_BYTES, REQUEST_CHARACTERS, Field, Outcome, Target, Verdict
from appliance.errors import Invalid

MAX_RECIPIENTS = 50
MAX_ADDRESS = 254
"""Characters (RFC 5321 §4.5.3.1.3, without the angle brackets)."""
MAX_PASSWORD = 512
PORTS: Mapping[MailTls, int] = {MailTls.STARTTLS: 587, MailTls.TLS: 465, MailTls.NONE: 25}
OWN_SERVER, RELAY = "own", "appliance"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>{_LABEL}(?:\.{_LABEL})*)")
_MAX_LOCAL = 64
_SHOWN_REFUSALS = 5
"""Refused recipients that an error names with the server's words."""


@dataclass(frozen=True, slots=True)
class EmailSender:
    """The type ``email``."""

    type: str = "email"
    label: str = "E-mail"
    icon: str = "i-mail"
    may_merge: bool = True
    fields: Sequence[Field] = (
        Field(
            "recipients",
            "Recipients",
            "lines",
            required=True,
            hint=f"One address a line, at most {MAX_RECIPIENTS}. They see one another.",
            placeholder="ingrid@norrvik.example",
        ),
        Field(
            "server",
            "Mail server",
            "choice",
            choices=((RELAY, "The appliance's"), (OWN_SERVER, "Another one")),
            default=RELAY,
            hint="The fields below are for another one.",
        ),
        Field("from", "From", "text", placeholder="alerts@norrvik.example", hint="The address that mail comes from."),
        Field("host", "Host", "text", placeholder="mail.norrvik.example"),
        Field(
            "tls",
            "Encryption",
            "choice",
            choices=(
                (MailTls.STARTTLS.value, "STARTTLS"),
                (MailTls.TLS.value, "TLS"),
                (MailTls.NONE.value, "None"),
            ),
            default=MailTls.STARTTLS.value,
            hint="STARTTLS is never given up. None only for networks that the operator lists for deliveries.",
        ),
        Field("port", "Port", "number", hint="587 with STARTTLS, 465 with TLS, unless another is given."),
        Field("username", "User name", "text"),
        Field("password", "Password", "text", secret=True),
        CA,
    )

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        recipients = list(dict.fromkeys(address(one, "recipients") for one in found["recipients"]))
        if len(recipients) > MAX_RECIPIENTS:
            raise Invalid(f"At most {MAX_RECIPIENTS} recipients; make a group address for more.", "recipients")
        if found["server"] == RELAY:
            return {"recipients": recipients, "server": RELAY}
        return found | {"recipients": recipients} | _own_server(found, secrets)

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:
        """Return where the server of its own is, or that the operator's is needed."""
        return [RELAYED if config["server"] == RELAY else destination(_server(config, secrets))]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send the notice once."""
        config = target.config
        if config["server"] == RELAY:
            if network.relay is None:
                return Outcome(Verdict.REFUSED, 0.0, error=NO_RELAY)
            relay = network.relay
        else:
            relay = Relay(_server(config, target.secrets), config["from"], network)
        return await _send(relay, config["recipients"], notice)


def address(text: str, field: str) -> str:
    """Return a plain address, its domain in lower case. Raises Invalid, which names ``field``."""
    found = _ADDRESS.fullmatch(text)
    if found is None or len(text) > MAX_ADDRESS or len(found["local"]) > _MAX_LOCAL:
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        extra = "" if text.isascii() else " Write a domain with other letters in its form of ASCII, xn--…"
        raise Invalid(f"{shown!r} is not a plain e-mail address, such as ingrid@norrvik.example.{extra}", field)
    return f"{found['local']}@{found['domain'].lower()}"


def _own_server(found: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the canonical fields of a server of the integration's own. Raises Invalid."""
    for name, label in (("from", "From"), ("host", "Host")):
        if name not in found:
            raise Invalid(f"{label} is missing; it is needed with another mail server.", name)
    tls = MailTls(found["tls"])
    port = found.get("port", PORTS[tls])
    if not 1 <= port <= 65_535:
        raise Invalid("The port must be 1 to 65535.", "port")
    password = secrets.get("password", "")
    if password and "username" not in found:
        raise Invalid("A password needs a user name.", "username")
    if "username" in found and not password:
        raise Invalid("A user name needs a password.", "password")
    if len(password) > MAX_PASSWORD:
        raise Invalid(f"The password is longer than {MAX_PASSWORD} characters.", "password")
    if tls is MailTls.NONE and password:
        raise Invalid("A password is only sent under TLS; choose STARTTLS or TLS, or leave it out.", "tls")
    if tls is MailTls.NONE and "ca" in found:
        raise Invalid("A CA certificate is for TLS; choose STARTTLS or TLS, or leave it out.", "ca")
    host = canonical_host(found["host"].removeprefix("[").removesuffix("]"), "host")
    return {"from": address(found["from"], "from"), "host": host, "port": port, "tls": tls.value}


def _server(config: Mapping[str, Any], secrets: Mapping[str, str]) -> MailServer:
    return MailServer(
        config["host"],
        config["port"],
        MailTls(config["tls"]),
        config.get("username"),
        secrets.get("password") or None,
        config.get("ca"),
    )


async def _send(relay: Relay, recipients: Sequence[str], notice: Notice) -> Outcome:
    """Hand the mail over, and return the outcome with every secret masked."""
    progress = Progress()
    begun = trio.current_time()
    reply: Reply | None = None
    error: str | None = None
    by_dates = False
    message = mail(notice, relay.sender, recipients)
    try:
        reply = await deliver(relay.server, Mail(relay.sender, recipients, message), relay.network, progress)
        verdict, error = Verdict.DELIVERED, _refused_recipients(progress.refused, len(recipients))
    except Rejected as refusal:
        reply, error = refusal.reply, f"reply: {refusal}"
        verdict = Verdict.REFUSED if reply.code // 100 == 5 else Verdict.RETRY
    except (NotAllowed, TlsRefused) as refusal:
        by_dates = isinstance(refusal, TlsRefused) and refusal.by_dates
        verdict, error = Verdict.REFUSED, str(refusal)
    except Unsuitable as refusal:
        verdict, error = Verdict.REFUSED, f"server: {refusal}"
    except Unreached as fault:
        verdict, error = Verdict.UNREACHED, str(fault)
    except BrokenOff as fault:
        verdict, error = Verdict.RETRY, f"answer: {fault}"
    except trio.TooSlowError:
        verdict = Verdict.UNREACHED if progress.address is None else Verdict.RETRY
        error = f"timeout: no end within {relay.network.deadlines.total:g} s"
    mask = Mask(_secrets(relay.server, notice))
    return Outcome(
        verdict,
        progress.seconds or trio.current_time() - begun,
        may_have_arrived=reply is None and progress.content_sent,
        status=reply.code if reply else None,
        answer=mask.bytes(reply.text.encode())[:ANSWER_BYTES] if reply else b"",
        error=mask.text(error) if error else None,
        address=progress.address,
        request=mask.text(_shown(progress.commands, relay.sender, recipients, notice))[:REQUEST_CHARACTERS],
        timings=progress.timings,
        by_dates=by_dates,
    )


def _refused_recipients(refused: Sequence[tuple[str, Reply]], count: int) -> str | None:
    """Return who did not get the mail, and why; None when everybody did."""
    if not refused:
        return None
    named = [f"{recipient} ({reply.text})" for recipient, reply in refused[:_SHOWN_REFUSALS]]
    named += [recipient for recipient, _ in refused[_SHOWN_REFUSALS:]]
    return f"recipients: {len(refused)} of {count} were refused: {'; '.join(named)}"


def _secrets(server: MailServer, notice: Notice) -> list[str]:
    """Return what is masked: the password in every form in which it is sent, and the link that acknowledges."""
    secrets = [notice.acknowledge_url or ""]
    if server.password is not None:
        token = base64.b64encode(f"\0{server.username}\0{server.password}".encode()).decode()
        secrets += [server.password, token]
    return secrets


def _shown(commands: Sequence[str], sender: str, recipients: Sequence[str], notice: Notice) -> str:
    """Return what was sent as people see it: the commands, the headers, the text."""
    message = mail(notice, sender, recipients)
    headers = [f"{name}: {value}" for name, value in message.items() if not name.lower().startswith("content-")]
    return "\n".join([*commands, "", *headers, "", _text(message)])


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    return str(part.get_content()) if part is not None else ""


SENDER = EmailSender()
