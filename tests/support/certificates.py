"""Certificates for servers of tests: a CA of our own, and what it signs."""

import datetime as dt
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM."""

    pem: str
    key_pem: str

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Write certificate and key into a folder, and return their paths."""
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_text(self.pem)
        key.write_text(self.key_pem)
        return certificate, key

    def server_context(self) -> ssl.SSLContext:
        """Return a server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            context.load_cert_chain(*self.files(Path(folder)))
        return context


class Authority:
    """A CA that nobody knows beside those who are given its ``pem``."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Test CA")
        extensions: Sequence[x509.ExtensionType] = (x509.BasicConstraints(ca=True, path_length=None),)
        self._certificate = _sign(self._name, self._key, self._name, self._key, extensions)
        self.pem = _pem(self._certificate)

    @lru_cache  # noqa: B019 - a CA of a test lives as long as its module
    def certificate(self, *names: str, expired: bool = False, key: Key | None = None) -> Certificate:
        """Return a certificate for names and IP addresses, valid for a day, or until yesterday."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        signed = _sign(_name(names[0]), key, self._name, self._key, (alternatives,), past=expired)
        return Certificate(_pem(signed), _key_pem(key))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _sign(
    subject: x509.Name,
    key: Key,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: Sequence[x509.ExtensionType],
    *,
    past: bool = False,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC) - (5 * DAY if past else 0 * DAY)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: Key) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
