"""Our own certificate authority, and the certificates that it issues. Pure: times and names are handed in.

The name constraints of the authority bound what a stolen key of it could pretend to be: host names of this appliance
and of private networks. They are not critical, since mbedTLS and BearSSL on small devices refuse an authority with a
critical extension that they do not know; OpenSSL, GnuTLS and browsers apply them all the same. Addresses are not
constrained: a machine may get any address from its network, public ones over IPv6 among them, and each has to be in the
next certificate of the same authority.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.tls.names import PRIVATE_DOMAINS, Names, is_within

LIFE = timedelta(days=20 * 365)
"""Of an authority. Devices that trust it are out of reach for years, and it can be replaced by no other means."""
MAX_COMMON_NAME = 64
"""Characters (RFC 5280, upper bounds)."""
ORGANISATION = "Edge Appliance"


class AuthorityError(ValueError):
    """The files of an authority cannot be used."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that people and devices trust by its certificate."""

    pem: bytes
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Return what people compare: the SHA-256 of the certificate in hex, with colons."""
        return fingerprint(self.certificate)

    @property
    def not_after(self) -> datetime:
        """Return when it ends."""
        return self.certificate.not_valid_after_utc

    @property
    def domains(self) -> Sequence[str]:
        """Return the domains whose hosts it may sign."""
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        return [one.value for one in constraints.permitted_subtrees or () if isinstance(one, x509.DNSName)]


def make_authority(names: Names, begins: datetime) -> tuple[Authority, bytes]:
    """Return a new authority that may sign ``names``, private domains and all addresses; and its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    # Named after its key: two appliances, or an old and a new authority of one, are told apart in a list of trusted
    # ones.
    subject = _subject(f"Edge Appliance CA {identifier.digest.hex()[:8]}")
    domains = (*PRIVATE_DOMAINS, *(host for host in names.hosts if not is_within(host, PRIVATE_DOMAINS)))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.NameConstraints([x509.DNSName(one) for one in domains], None), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), certificate, key), key_pem(key)


def read_authority(pem: bytes, key: bytes) -> Authority:
    """Return the authority of the two files. Raises AuthorityError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        private = serialization.load_pem_private_key(key, password=None)
        authority = Authority(pem, certificate, private)  # type: ignore[arg-type]
        fits = private.public_key() == certificate.public_key() and bool(authority.domains)
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise AuthorityError(str(error)) from None
    if not fits or not isinstance(private, ec.EllipticCurvePrivateKey):
        raise AuthorityError("the key is not that of the certificate")
    return authority


def issue(authority: Authority, names: Names, begins: datetime, ends: datetime) -> bytes:
    """Return a new certificate for a server and its key, as PEM in one text, which can be replaced at once."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(f"Edge Appliance {(*names.hosts, '')[0]}".strip()))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(min(ends, authority.not_after))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names.general()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    certificate = builder.sign(authority.key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + key_pem(key)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate in hex, with colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as PEM, in clear text: for files of mode 0600."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(common_name: str) -> x509.Name:
    # A text with spaces: verifiers take a common name for a host name, and hold it against the constraints.
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name[:MAX_COMMON_NAME]),
        ]
    )


def _usage(*, key_cert_sign: bool = False, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )
