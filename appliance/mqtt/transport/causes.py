"""Why a stream could not be had, or was lost, in words that name what to mend."""

import os
import ssl
from collections.abc import Mapping

CLOSED = "the broker closed the connection"

_ALERTS: Mapping[str, str] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker demands a client certificate, and none was given",
    "TLSV1_ALERT_UNKNOWN_CA": "our client certificate is not of a CA that the broker knows",
    "TLSV1_ALERT_DECRYPT_ERROR": "our client certificate is not of a CA that the broker knows",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker refuses our client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "our client certificate is revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the broker refuses our client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker refuses the handshake: does it demand a client certificate?",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the broker speaks no TLS of version 1.2 or newer",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no TLS of version 1.2 or newer",
    "WRONG_VERSION_NUMBER": "what answers does not speak TLS: is it the port for TLS?",
}
"""What OpenSSL's reasons mean; the names with SSLV3 and TLSV1 say since when they are in use, not what was spoken."""
_UNKNOWN_ISSUER = frozenset({18, 19, 20, 21})
"""Codes of OpenSSL: signed by itself, by a root or an issuer that nobody knows, or a chain that cannot be built."""


def reason(error: BaseException) -> str:
    """Return what an error of ``BROKEN`` says, without numbers and addresses; of several addresses, each cause once."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):  # trio's, of a name with several addresses
        causes = [one for one in cause.exceptions if isinstance(one, OSError)]
        return "; ".join(dict.fromkeys(reason(one) for one in causes))
    if isinstance(error, ssl.SSLError):  # its numbers are not the system's
        return _tls_reason(error)
    if not isinstance(error, OSError):  # trio tells what broke a stream as the cause
        if isinstance(cause, Exception):
            return reason(cause)
        return str(error) or "the stream is closed"
    if error.errno is not None and error.errno > 0:  # name resolution has negative numbers of its own
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return CLOSED
    words = str(error.strerror or error)
    # Python sets what follows on the errors of a handshake alone.
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "; if its CA is one of your own, name that CA"
        words = getattr(error, "verify_message", words).rstrip(".")
        known = getattr(error, "verify_code", 0) not in _UNKNOWN_ISSUER
        return f"TLS failed: the broker's certificate is refused: {words}{'' if known else hint}"
    name = getattr(error, "reason", None) or ""
    return f"TLS failed: {_ALERTS.get(name) or name.lower().replace('_', ' ') or words}"
