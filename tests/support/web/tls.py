"""TLS for dashboards of tests: certificates of a CA of the test's own, which can be exchanged while it is served."""

import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.web.http.tls import ServerTls
from tests.support.certificates import Authority, Certificate

ENDS = datetime(2027, 5, 4, 12, tzinfo=UTC)
NAMES = ("localhost", "127.0.0.1", "edge.example")


@dataclass(frozen=True)
class Shown:
    """A certificate in files."""

    chain_file: Path
    key_file: Path
    names: Sequence[str]
    own: bool
    not_after: datetime = ENDS


class PublicAuthority:
    """What is shown of the CA of a test."""

    not_after = ENDS + timedelta(days=7000)

    def __init__(self, authority: Authority) -> None:
        self.pem = authority.pem.encode()
        found = x509.load_pem_x509_certificate(self.pem)
        self.fingerprint = found.fingerprint(hashes.SHA256()).hex(":").upper()


class NoCertificates:
    """Those of an appliance without TLS."""

    web: Shown | None = None
    broker: Shown | None = None
    ca: PublicAuthority | None = None
    troubles: Mapping[str, str] = MappingProxyType({})
    left_out: Sequence[str] = ()
    tls: ServerTls | None = None
    """Of the dashboard's port."""

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Nothing ever changes."""


class DemoCertificates(NoCertificates):
    """Those of an appliance under TLS that is looked at over plain HTTP, as pages show them; there are no files."""

    def __init__(self) -> None:
        nowhere = Path("/nonexistent")
        names = ("edge-appliance", "edge-appliance.local", "localhost", "127.0.0.1", "::1", "192.168.1.20")
        self.web = self.broker = Shown(nowhere, nowhere, names, own=True)
        self.ca = PublicAuthority(Authority())


class FileCertificates(NoCertificates):
    """Holds the dashboard's certificate, as :class:`appliance.tls.certificates.Certificates` does.

    ``own``: it is of the appliance's own CA. ``plain``: as ``web.plain``.
    """

    def __init__(self, authority: Authority, folder: Path, *, own: bool = True, plain: bool = True) -> None:
        self.authority = authority
        self._folder = folder
        self._own = own
        self._told: list[Callable[[], None]] = []
        self.ca = PublicAuthority(authority) if own else None
        self.renew()
        self.tls = ServerTls(self, plain=plain)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after each exchange."""
        self._told.append(callback)

    def renew(self, *names: str, certificate: Certificate | None = None) -> None:
        """Show another certificate, by default one of the same CA for the same names."""
        given = names or NAMES
        place = Path(tempfile.mkdtemp(dir=self._folder))
        key = ec.generate_private_key(ec.SECP256R1())
        self.show(*(certificate or self.authority.certificate(*given, key=key)).files(place), given)

    def show(self, chain_file: Path, key_file: Path, names: Sequence[str] = NAMES) -> None:
        """Show what is in files, whatever it is."""
        self.web = Shown(chain_file, key_file, names, self._own)
        for told in self._told:
            told()

    def client(self) -> ssl.SSLContext:
        """Return the context of a client that trusts the CA."""
        return ssl.create_default_context(cadata=self.authority.pem)
