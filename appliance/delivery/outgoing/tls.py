"""TLS to receivers: version 1.2 at least, certificates verified, by a CA of the integration's own where it has one."""

import re
import ssl
from collections.abc import Sequence
from functools import lru_cache

import trio

from appliance.delivery.outgoing.network import Unreached

MAX_PEM = 65_536
"""Characters of a CA at most."""
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""Codes of OpenSSL: signed by itself, by a root or an issuer that nobody knows, or a chain that cannot be built."""
_OTHER_TIME = frozenset({9, 10})
"""Not yet valid, expired."""
_KEPT_CONTEXTS = 64
"""Contexts kept: reading the system's CAs takes 10 ms, which a notice should not."""


class TlsRefused(Exception):
    """The receiver is not whom it should be, or speaks no TLS that we accept."""

    def __init__(self, message: str, *, by_dates: bool = False) -> None:
        super().__init__(message)
        self.by_dates = by_dates
        """Whether its certificate is valid at another time than that of this machine's clock."""


@lru_cache(maxsize=_KEPT_CONTEXTS)
def client_context(ca: str | None, protocols: Sequence[str]) -> ssl.SSLContext:
    """Return the context for a CA as PEM (None: the system's) and ALPN protocols. Raises ValueError for a bad PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load(context, ca)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def _load(context: ssl.SSLContext, ca: str) -> None:
    """Trust the certificates of a PEM and nothing else; a server's own one counts as well as its CA's."""
    if len(ca) > MAX_PEM:
        raise ValueError(f"is longer than {MAX_PEM:,} characters")
    if _PRIVATE_KEY.search(ca):
        raise ValueError("holds a private key; leave only the certificates")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise ValueError("is no certificate in PEM: -----BEGIN CERTIFICATE----- and so on") from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError("holds no certificate")


async def encrypt(
    stream: trio.SocketStream, context: ssl.SSLContext, host: str, seconds: float
) -> trio.SSLStream[trio.SocketStream]:
    """Return the stream under TLS, the certificate verified for ``host``. Raises TlsRefused, Unreached.

    A handshake that takes too long or is cut reached nobody who could have answered. The stream is closed then.
    """
    encrypted = trio.SSLStream(stream, context, server_hostname=host.rstrip("."), https_compatible=True)
    try:
        with trio.fail_after(seconds):
            await encrypted.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.TooSlowError):
            raise Unreached(f"tls: no handshake within {seconds:g} s") from None
        if isinstance(error, trio.BrokenResourceError):
            raise _fault(error.__cause__) from None
        raise
    return encrypted


def _fault(cause: BaseException | None) -> TlsRefused | Unreached:
    """Return what a handshake that broke means."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "; of a server of your own, enter the CA" if cause.verify_code in _UNKNOWN_ISSUER else ""
        refused = f"tls: the certificate is refused: {cause.verify_message}{hint}"
        return TlsRefused(refused, by_dates=cause.verify_code in _OTHER_TIME)
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        words = (cause.reason or "no TLS").replace("_", " ").lower()
        return TlsRefused(f"tls: no TLS of version 1.2 or newer: {words}")
    return Unreached("tls: the connection was closed in the handshake")
