"""A real mail server for tests: aiosmtpd in a thread of its own."""

import asyncio
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

START_SECONDS = 20.0


@dataclass(frozen=True)
class ReceivedMail:
    """A mail as the server got it."""

    sender: str
    recipients: Sequence[str]
    content: bytes
    encrypted: bool
    user: str | None


@dataclass
class MailSink:
    """A server on a port of 127.0.0.1.

    ``starttls`` or ``tls`` is its certificate. With ``users`` (name -> password) it wants a sign-in. ``answers`` are
    what it says instead of accepting: by ``MAIL``, ``DATA``, or a recipient's address.
    """

    starttls: ssl.SSLContext | None = None
    tls: ssl.SSLContext | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    without_mechanisms: Sequence[str] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    largest: int = 1_000_000
    mails: list[ReceivedMail] = field(default_factory=list)
    connections: int = 0
    mechanisms: list[str] = field(default_factory=list)
    """By which somebody signed in."""
    port: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)

    def _serve(self, ready: threading.Event) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(loop.create_server(self._connection, "127.0.0.1", 0, ssl=self.tls))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def _connection(self) -> SMTP:
        self.connections += 1
        return SMTP(
            self,
            hostname="sink.test",
            data_size_limit=self.largest,
            tls_context=self.starttls,
            require_starttls=self.starttls is not None,
            auth_required=bool(self.users) and self.tls is None,  # else aiosmtpd warns: it does not see this TLS
            auth_require_tls=self.tls is None,
            auth_exclude_mechanism=self.without_mechanisms,
            authenticator=self._authenticate,
            loop=self._loop,
        )

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, credentials: Any
    ) -> AuthResult:
        assert isinstance(credentials, LoginPassword)
        user = credentials.login.decode()
        right = self.users.get(user) == credentials.password.decode()
        if right:
            self.mechanisms.append(mechanism)
        return AuthResult(success=right, handled=False, auth_data=user)

    # The hooks of aiosmtpd

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        """Take or refuse the sender."""
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Sequence[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        """Take or refuse the content."""
        if "DATA" in self.answers:
            return self.answers["DATA"]
        assert isinstance(envelope.content, bytes)
        user: Any = session.auth_data
        self.mails.append(
            ReceivedMail(
                envelope.mail_from or "",
                tuple(envelope.rcpt_tos),
                envelope.content,
                bool(session.ssl) or bool(self.tls),
                user,
            )
        )
        return "250 Message accepted"
