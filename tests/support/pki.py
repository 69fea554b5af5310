"""Certificates of other authorities, right and wrong ones, as files that a configuration names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

DAY = timedelta(days=1)


class Issued:
    """A certificate with its key, and who has signed it."""

    def __init__(
        self,
        name: str,
        issuer: "Issued | None" = None,
        *,
        key: Any = None,
        extensions: tuple[x509.ExtensionType, ...] | None = None,
        begins: datetime | None = None,
        days: float = 100,
    ) -> None:
        """Without ``issuer`` it has signed itself. ``extensions``: by default those of a server, gw.example."""
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key: Any = key or ec.generate_private_key(ec.SECP256R1())
        begins = begins or datetime.now(UTC) - DAY
        signer: CertificateIssuerPrivateKeyTypes = self.key if issuer is None else issuer.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name if issuer is None else issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=days))
        )
        for extension in (server(),) if extensions is None else extensions:
            builder = builder.add_extension(extension, critical=False)
        self.certificate = builder.sign(signer, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the key as PEM."""
        protection = (
            serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
        )
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        text: bytes = self.key.private_bytes(encoding, form, protection)
        return text


def server(*names: str) -> x509.SubjectAlternativeName:
    """Return the names of a server."""
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names or ("gw.example",)])


def authority() -> tuple[x509.ExtensionType, ...]:
    """Return the extensions of an authority."""
    return (x509.BasicConstraints(ca=True, path_length=None),)


def issuer_address() -> x509.AuthorityInformationAccess:
    """Return where the issuer of a certificate is found."""
    place = x509.UniformResourceIdentifier("http://ca.example/issuer.crt")
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)])


def write_files(folder: Path, chain: bytes, key: bytes) -> tuple[Path, Path]:
    """Write both files, and return their paths."""
    certificate_file, key_file = folder / "given.pem", folder / "given.key"
    certificate_file.write_bytes(chain)
    key_file.write_bytes(key)
    key_file.chmod(0o600)
    return certificate_file, key_file
