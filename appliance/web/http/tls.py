"""The certificate that the dashboard's port shows, exchanged while connections go on.

What enters: the certificates of :mod:`appliance.tls`, and word that they have changed. What leaves: the context of the
next handshake, the names that requests may be addressed to, and whether browsers may be told to insist on TLS.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog
import trio

log = structlog.get_logger(__name__)

STRICT_TRANSPORT_SECURITY = (b"strict-transport-security", b"max-age=31536000")
"""One year (RFC 6797), and only with a certificate that browsers trust by themselves: with one of our own CA, a browser
that has not been told of it could no longer pass the warning, and would be locked out for that year."""

TOLD_EVERY = 60.0
"""Seconds between two lines about handshakes that failed: one peer that tries on and on must not fill the log."""


class ShownCertificate(Protocol):
    """A certificate chain with its key: :class:`appliance.tls.certificates.Certificate`."""

    @property
    def chain_file(self) -> Path:
        """Return the file of the chain, the leaf first."""

    @property
    def key_file(self) -> Path:
        """Return the file of the key."""

    @property
    def names(self) -> Sequence[str]:
        """Return the DNS names and addresses that the leaf is for."""

    @property
    def not_after(self) -> datetime:
        """Return when it ends."""

    @property
    def own(self) -> bool:
        """Return whether our own CA signed it."""


class ShownAuthority(Protocol):
    """Our own CA, without its key: :class:`appliance.tls.authority.Authority`."""

    @property
    def pem(self) -> bytes:
        """Return its certificate."""

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of it, in hex with colons."""

    @property
    def not_after(self) -> datetime:
        """Return when it ends."""


class CertificateSource(Protocol):
    """Has the certificates of the listeners, and tells of changes: :class:`appliance.tls.certificates.Certificates`."""

    @property
    def web(self) -> ShownCertificate | None:
        """Return that of the dashboard; None without TLS there."""

    @property
    def broker(self) -> ShownCertificate | None:
        """Return that of the device listener; None without TLS there."""

    @property
    def ca(self) -> ShownAuthority | None:
        """Return our own CA; None where it has signed none of them."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Return why the files of a listener cannot be used, by ``web`` and ``broker``: the ones before go on."""

    @property
    def left_out(self) -> Sequence[str]:
        """Return the names of this machine that our own CA may not sign: no certificate of it is for them."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the loop after each change."""


class ServerTls:
    """TLS on the dashboard's port. ``plain``: whether plain connections get more than the way to TLS (``web.plain``).

    Raises OSError or ssl.SSLError for a first certificate that cannot be loaded; of a later one that cannot, the one
    before goes on.
    """

    def __init__(self, certificates: CertificateSource, *, plain: bool) -> None:
        self.plain = plain
        self.failures = HandshakeFailures()
        self._certificates = certificates
        self._shown = self._present()
        self._context = server_context(self._shown)
        self._behind = False
        """Whether the present certificate could not be loaded: too many files may be open just now."""
        certificates.subscribe(self._renew)

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context of the next handshake; a certificate that could not be loaded is tried again."""
        if self._behind:
            self._load()
        return self._context

    @property
    def names(self) -> Sequence[str]:
        """Return the names and addresses of the certificate, and those of this machine that it could not be given."""
        return (*self._shown.names, *self._certificates.left_out)

    @property
    def trusted_by_browsers(self) -> bool:
        """Return whether somebody else's CA signed the certificate, so that HSTS may be sent."""
        return not self._shown.own

    def _renew(self) -> None:
        """Show the present certificate from the next handshake on; open connections stay as they are."""
        self._behind = False
        self._load()

    def _load(self) -> None:
        try:
            shown = self._present()
            self._context = server_context(shown)
        except (OSError, ssl.SSLError, LookupError) as error:
            note = log.debug if self._behind else log.error  # the others of a row say nothing new
            note("the new certificate cannot be used, the old one goes on", error=str(error))
            self._behind = True
            return
        self._shown, self._behind = shown, False
        log.info("new certificate for the dashboard", names=list(shown.names))

    def _present(self) -> ShownCertificate:
        shown = self._certificates.web
        if shown is None:
            raise LookupError("there is no certificate for the dashboard")
        return shown


def server_context(shown: ShownCertificate) -> ssl.SSLContext:
    """Return a context that shows a certificate: TLS 1.2 or newer, HTTP/1.1, no compression, no renegotiation.

    Each certificate has a context of its own. OpenSSL keeps one certificate a type of key: an RSA one that is loaded
    into the context of an ECDSA one is shown beside it, and one whose key does not fit leaves the context without any.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # Without a password given, OpenSSL would ask for that of an encrypted key on the console, and wait.
    context.load_cert_chain(shown.chain_file, shown.key_file, password="")
    return context


class HandshakeFailures:
    """Counts handshakes that failed, and logs one line a minute at most."""

    def __init__(self) -> None:
        self._count = 0
        self._told_at = -float("inf")

    def note(self, peer: str, reason: str) -> None:
        """Count one, and say so if it is time."""
        self._count += 1
        now = trio.current_time()
        if now - self._told_at < TOLD_EVERY:
            return
        log.info("TLS handshakes failed", count=self._count, last_from=peer, last_reason=reason)
        self._count, self._told_at = 0, now
