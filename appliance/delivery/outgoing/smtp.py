"""One mail to one server: smtpproto's protocol (sans I/O) over a checked connection, every step under a deadline.

smtpproto 2.0 encodes commands, follows the state, and reads extensions. Replies are read here, bounded
(``smtp_replies``): smtpproto keeps whatever it is sent, and takes every code that its table does not list - 554 to a
recipient, 421 at any time, 4xx and 5xx after the content - for a violation of the protocol. So a refusal is decided
here, by its first digit, and only what goes on is fed to it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP

import trio
from smtpproto.protocol import ClientState, SMTPClientProtocol, SMTPException

from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.mail_server import MailServer, MailTls
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.outgoing.smtp_replies import NotSmtp, Replies, Reply
from appliance.delivery.outgoing.tls import client_context, encrypt

USUAL_PORTS = frozenset({465, 587, 2525})
"""Of submission. 25 is for what servers send one another, and is asked for by whoever wants to send spam."""
CHUNK_BYTES = 4096
QUIT_SECONDS = 1.0
"""For a farewell after the mail was taken: it changes nothing any more."""
SERVICE_CLOSING = 421
TEMPORARY, PERMANENT = 450, 550
"""Refusals of a recipient that smtpproto knows: it is fed these in place of those that it does not."""
NO_SUCH_COMMAND = 500
HIDDEN = "••••••••"


def destination(server: MailServer) -> Destination:
    """Return what is dialled. Where TLS is asked for it is certain: nothing falls back."""
    return Destination(server.host, server.port, USUAL_PORTS, encrypted=server.tls is not MailTls.NONE)


@dataclass(frozen=True, slots=True)
class Mail:
    """A message and its envelope: plain addresses, ASCII."""

    sender: str
    recipients: Sequence[str]
    message: EmailMessage


@dataclass(slots=True)
class Progress:
    """What is known of a try, whether or not it comes to its end."""

    address: str | None = None
    """The IP address that was dialled."""
    timings: dict[str, float] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    """What was sent, credentials hidden."""
    seconds: float | None = None
    """From the start to the reply that took the mail."""
    content_sent: bool = False
    """Whether the whole mail was sent: from here on it may have arrived."""
    refused: list[tuple[str, Reply]] = field(default_factory=list)
    """Recipients that were refused."""


class Rejected(Exception):
    """The server said no: 4xx for now, 5xx for good."""

    def __init__(self, step: str, reply: Reply) -> None:
        super().__init__(f"the mail server refused {step}: {reply.text}")
        self.reply = reply


class Unsuitable(Exception):
    """The server cannot or must not be used as it is set up; nothing changes that but a person."""


class BrokenOff(Exception):
    """The conversation ended before its end: silence, a closed connection, or something that is not SMTP."""


async def deliver(server: MailServer, mail: Mail, network: Network, progress: Progress) -> Reply:
    """Hand over a mail and return the reply that took it; recipients that were refused stand in ``progress``.

    Raises Rejected, Unsuitable and BrokenOff; NotAllowed, Unreached and TlsRefused; trio.TooSlowError past
    ``deadlines.total``.
    """
    conversation: _Conversation | None = None
    begun = trio.current_time()
    try:
        with trio.fail_after(network.deadlines.total):
            dialled = await network.dial(destination(server))
            progress.address = dialled.address
            progress.timings |= {"name": dialled.name_seconds, "connect": dialled.connect_seconds}
            conversation = _Conversation(dialled.stream, server, network.deadlines, progress)
            reply = await conversation.hand_over(mail)
        progress.seconds = trio.current_time() - begun
        progress.timings["answer"] = progress.seconds - sum(progress.timings.values())
        return reply
    finally:
        if conversation is not None:
            await conversation.close()


class _Conversation:
    def __init__(self, stream: trio.SocketStream, server: MailServer, deadlines: Deadlines, progress: Progress) -> None:
        self._dialled = stream
        self._stream: trio.abc.Stream = stream
        self._server = server
        self._deadlines = deadlines
        self._progress = progress
        self._protocol = SMTPClientProtocol()
        self._replies = Replies()

    async def hand_over(self, mail: Mail) -> Reply:
        await self._greet()
        await self._authenticate()
        size = len(mail.message.as_bytes(policy=SMTP))
        most = self._protocol.max_message_size
        if most and size > most:
            raise Unsuitable(f"the mail has {size} bytes, the mail server takes at most {most}")
        self._protocol.mail(mail.sender, smtputf8=False)
        await self._command(f"MAIL FROM:<{mail.sender}>", f"the sender {mail.sender}")
        await self._address(mail.recipients)
        self._protocol.start_data()
        await self._command("DATA", "the mail")
        return await self._content(mail.message)

    async def close(self) -> None:
        """Say QUIT where the mail was taken, and close."""
        with trio.move_on_after(QUIT_SECONDS) as scope:
            scope.shield = True
            if self._protocol.state is ClientState.ready and self._progress.content_sent:
                try:
                    self._protocol.quit()
                    await self._exchange("QUIT")
                except (BrokenOff, SMTPException):
                    pass
        await trio.aclose_forcefully(self._stream)

    # Steps

    async def _greet(self) -> None:
        """Read the greeting and say EHLO, under TLS as the server is set up: with STARTTLS both times."""
        server = self._server
        if server.tls is MailTls.TLS:
            await self._secure()
        self._feed(self._accepted("the connection", await self._reply("its greeting")))
        await self._hello()
        if server.tls is not MailTls.STARTTLS:
            return
        if "STARTTLS" not in self._protocol.extensions:
            raise Unsuitable(
                "the mail server offers no STARTTLS (or somebody on the way took the offer out): nothing was sent"
            )
        self._protocol.start_tls()
        await self._command("STARTTLS", "STARTTLS")
        if self._replies.rest:  # written in the clear by somebody who wants it read as if it were encrypted
            raise Unsuitable("the mail server sent more than its answer to STARTTLS: nothing was sent")
        await self._secure()
        await self._hello()

    async def _hello(self) -> None:
        dialled = self._dialled.socket.getsockname()[0]
        name = f"[IPv6:{dialled}]" if ":" in dialled else f"[{dialled}]"
        self._protocol.send_greeting(name)
        reply = await self._exchange(f"EHLO {name}")
        if reply.code // 100 == 5 and self._stream is self._dialled:  # of an old server that is asked in the clear
            self._feed(Reply(NO_SUCH_COMMAND, reply.lines))
            reply = await self._exchange(f"HELO {name}")
        self._feed(self._accepted("EHLO", reply))

    async def _secure(self) -> None:
        try:
            context = client_context(self._server.ca, ())
        except ValueError as error:
            raise Unsuitable(f"the trusted certificate {error}") from None
        begun = trio.current_time()
        self._stream = await encrypt(self._dialled, context, self._server.host, self._deadlines.tls)
        self._progress.timings["tls"] = trio.current_time() - begun

    async def _authenticate(self) -> None:
        """Sign in by PLAIN, or by LOGIN where that is all there is; never in the clear."""
        username, password = self._server.username, self._server.password
        if username is None or password is None:
            return
        if self._stream is self._dialled:
            raise Unsuitable("a password is only sent under TLS")
        offered = self._protocol.auth_mechanisms
        if "PLAIN" in offered:
            self._protocol.authenticate("PLAIN", _encoded(f"\0{username}\0{password}"))
            await self._command(f"AUTH PLAIN {HIDDEN}", "user name and password")
        elif "LOGIN" in offered:
            self._protocol.authenticate("LOGIN")
            await self._command("AUTH LOGIN", "to sign in")
            for secret in (username, password):
                if self._protocol.state is not ClientState.authenticating:
                    raise BrokenOff("the mail server did not ask for the password")
                self._protocol.send_authentication_data(_encoded(secret))
                await self._command(HIDDEN, "user name and password")
        else:
            others = ", ".join(sorted(offered)) or "nothing"
            raise Unsuitable(f"the mail server takes a password neither by PLAIN nor by LOGIN, but by {others}")
        if self._protocol.state is not ClientState.authenticated:
            raise BrokenOff("the mail server asked for more than user name and password")

    async def _address(self, recipients: Sequence[str]) -> None:
        """Name the recipients. Raises Rejected when none is accepted, with a refusal for now if there is one."""
        for recipient in recipients:
            self._protocol.recipient(recipient)
            reply = await self._exchange(f"RCPT TO:<{recipient}>")
            if reply.code // 100 == 2:
                self._feed(reply)
                continue
            if reply.code == SERVICE_CLOSING or reply.code // 100 == 3:
                raise Rejected(f"the recipient {recipient}", reply)
            self._progress.refused.append((recipient, reply))
            self._feed(Reply(TEMPORARY if reply.code // 100 == 4 else PERMANENT, reply.lines))
        refused = self._progress.refused
        if len(refused) == len(recipients):
            recipient, reply = min(refused, key=lambda one: one[1].code)
            raise Rejected(f"every recipient, such as {recipient}", reply)

    async def _content(self, message: EmailMessage) -> Reply:
        self._protocol.data(message)
        await self._send()
        self._progress.content_sent = True
        reply = self._accepted("the mail", await self._reply("its answer to the mail"))
        self._feed(reply)
        return reply

    # One command and its reply

    async def _command(self, shown: str, what: str) -> None:
        self._feed(self._accepted(what, await self._exchange(shown)))

    async def _exchange(self, shown: str) -> Reply:
        """Send what the protocol has queued; ``shown`` is how it is kept. Return the reply, whatever it is."""
        self._progress.commands.append(shown)
        await self._send()
        command = "the password" if shown == HIDDEN else shown.partition(" ")[0]
        return await self._reply(f"its answer to {command}")

    async def _send(self) -> None:
        try:
            with trio.fail_after(self._deadlines.write):
                await self._stream.send_all(self._protocol.get_outgoing_data())
        except trio.TooSlowError:
            raise BrokenOff(f"the mail server took nothing for {self._deadlines.write:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise BrokenOff("the mail server closed the connection") from None

    async def _reply(self, awaited: str) -> Reply:
        try:
            with trio.fail_after(self._deadlines.read):
                while (reply := self._replies.next()) is None:
                    data = await self._stream.receive_some(CHUNK_BYTES)
                    if not data:
                        raise BrokenOff(f"the mail server closed the connection before {awaited}")
                    self._replies.feed(bytes(data))
        except trio.TooSlowError:
            raise BrokenOff(f"the mail server did not send {awaited} within {self._deadlines.read:g} s") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise BrokenOff(f"the mail server closed the connection before {awaited}") from None
        except NotSmtp as error:
            raise BrokenOff(str(error)) from None
        return reply

    def _accepted(self, what: str, reply: Reply) -> Reply:
        if reply.code // 100 not in (2, 3):
            raise Rejected(what, reply)
        return reply

    def _feed(self, reply: Reply) -> None:
        try:
            self._protocol.feed_bytes(reply.bytes)
        except SMTPException:
            raise BrokenOff(f"the mail server's reply does not belong here: {reply.text}") from None


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
