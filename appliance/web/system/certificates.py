"""The certificates of the listeners, as System shows them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum

import msgspec

from appliance.web.http.tls import CertificateSource, ShownCertificate

SOON = timedelta(days=30)
"""Before the end of a certificate, somebody should see to it. Ours is renewed by itself long before."""
LISTENERS: Mapping[str, str] = {"web": "Dashboard", "broker": "Devices"}


class Signer(StrEnum):
    """Whose CA has signed a certificate."""

    OWN = "own"
    """This appliance's."""
    OTHER = "other"
    """Somebody else's: it is one by file."""


class CertificateView(msgspec.Struct, frozen=True):
    """The certificate of a listener. Times are seconds since 1970."""

    listener: str
    """``web`` or ``broker``."""
    names: Sequence[str]
    """The host names and addresses that it is for."""
    not_after: float
    ends_soon: bool
    """Within 30 days; false while the clock is in doubt."""
    signer: Signer
    trouble: str | None
    """Why newer files cannot be used; this one goes on."""

    @property
    def title(self) -> str:
        """Return what the listener is for."""
        return LISTENERS[self.listener]


class AuthorityView(msgspec.Struct, frozen=True):
    """This appliance's own CA, which people and devices trust. Times are seconds since 1970."""

    fingerprint: str
    """The SHA-256 in hex, with colons."""
    not_after: float
    left_out: Sequence[str]
    """Names of this machine that it may not sign: they were configured after it was made."""


class TlsView(msgspec.Struct, frozen=True):
    """The certificates in use; none without TLS."""

    certificates: Sequence[CertificateView]
    authority: AuthorityView | None


def tls_view(certificates: CertificateSource, now: float, *, trusted: bool) -> TlsView:
    """Return the certificates as they are; ``trusted``: the clock is."""
    found = {"web": certificates.web, "broker": certificates.broker}
    authority = certificates.ca
    return TlsView(
        certificates=[
            _view(listener, one, certificates.troubles.get(listener), now if trusted else float("-inf"))
            for listener, one in found.items()
            if one is not None
        ],
        authority=None
        if authority is None
        else AuthorityView(authority.fingerprint, authority.not_after.timestamp(), certificates.left_out),
    )


def _view(listener: str, one: ShownCertificate, trouble: str | None, now: float) -> CertificateView:
    ends = one.not_after.timestamp()
    soon = ends - now < SOON.total_seconds()
    return CertificateView(listener, one.names, ends, soon, Signer.OWN if one.own else Signer.OTHER, trouble)
