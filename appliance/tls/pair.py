"""A certificate with its chain and its key, checked to fit together: what a listener is given. Pure.

Every refusal says what is wrong and what to do. ``files`` are named in the messages alone.
"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from appliance.tls.authority import fingerprint
from appliance.tls.names import Names, names_in

CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
MIN_RSA_BITS = 2048
AHEAD = timedelta(minutes=10)
"""By which a certificate may begin later than service time: an authority's clock may be ahead of ours."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_KEY_ALLOWED = "use a key on the curve P-256 or P-384, or RSA with 2048 bits or more"


class PairError(ValueError):
    """A certificate and a key that cannot be used; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a certificate with its chain and its key come from; both may stand in one file."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its key."""

    chain: Sequence[x509.Certificate]
    """The certificate itself first."""
    key_pem: bytes = field(repr=False)

    @property
    def leaf(self) -> x509.Certificate:
        """Return the certificate of the server."""
        return self.chain[0]

    @property
    def names(self) -> Names:
        """Return what it is for."""
        return names_in(self.leaf)

    @property
    def not_after(self) -> datetime:
        """Return when it ends, or what it is signed by, if that is earlier."""
        return min(one.not_valid_after_utc for one in self.chain)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate in hex, with colons."""
        return fingerprint(self.leaf)

    @property
    def pem(self) -> bytes:
        """Return all of it in one text, the key last."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.chain) + self.key_pem


def read_pair(certificate: bytes, key: bytes, files: Files, now: datetime | None) -> Pair:
    """Return what the contents of the two files hold, if it can be used. Raises PairError.

    ``now``: service time; None while it is in doubt, when nothing is said of the dates.
    """
    chain = _chain(certificate, files.certificate)
    private = _key(key, files.key)
    if private.public_key() != chain[0].public_key():
        raise PairError(
            f"{files.key} is not the key of the certificate in {files.certificate}, whose server's certificate comes "
            "first: write both anew"
        )
    _check_leaf(chain[0], files.certificate)
    _check_order(chain, files.certificate)
    if now is not None:
        _check_dates(chain, files.certificate, now)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(chain, pem)


def _chain(content: bytes, path: Path) -> list[x509.Certificate]:
    blocks = [match[0] for match in _BLOCK.finditer(content) if match[1] == b"CERTIFICATE"]
    if content.count(b"-----BEGIN CERTIFICATE-----") != len(blocks) or not blocks:
        what = "holds a certificate that is cut off" if blocks or b"-----BEGIN" in content else "holds no certificate"
        raise PairError(f"{path} {what}: write it in PEM form (-----BEGIN CERTIFICATE-----), whole")
    try:
        return [x509.load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise PairError(f"{path} holds a certificate that cannot be read ({error}): write it anew") from None


def _key(content: bytes, path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    blocks = [match for match in _BLOCK.finditer(content) if match[1].endswith(b"PRIVATE KEY")]
    if not blocks:
        what = "holds a key that is cut off" if b"PRIVATE KEY-----" in content else "holds no private key"
        raise PairError(f"{path} {what}: write it in PEM form (-----BEGIN PRIVATE KEY-----), whole")
    if b"ENCRYPTED" in blocks[0][0][:200]:
        raise PairError(f"{path} is encrypted: write the key without a passphrase")
    try:
        private = serialization.load_pem_private_key(blocks[0][0], password=None)
    except (ValueError, TypeError) as error:
        raise PairError(f"{path} holds a key that cannot be read ({error}): write it anew") from None
    return _allowed(private, path)


def _allowed(private: PrivateKeyTypes, path: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, CURVES):
        return private
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= MIN_RSA_BITS:
        return private
    kind = type(private).__name__.removesuffix("PrivateKey").lstrip("_")
    size = f" with {private.key_size} bits" if isinstance(private, rsa.RSAPrivateKey) else ""
    raise PairError(f"{path} is a key of the type {kind}{size}, which devices or browsers refuse: {_KEY_ALLOWED}")


def _check_leaf(leaf: x509.Certificate, path: Path) -> None:
    if not names_in(leaf).texts:
        raise PairError(
            f"{path} is for no name (subjectAltName), so that nobody accepts it: have one issued with names"
        )
    try:
        purposes = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return
    wanted = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if not wanted & set(purposes):
        raise PairError(f"{path} is not for servers (extendedKeyUsage): have one issued with serverAuth")


def _check_order(chain: Sequence[x509.Certificate], path: Path) -> None:
    """Check that each is signed by the next, and that one alone need not be followed by what has signed it."""
    for one, issuer in pairwise(chain):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise PairError(
                f"{path}: {_name(one)} is not signed by {_name(issuer)}, which follows: write the server's certificate "
                "first, then each one's issuer"
            ) from None
    leaf = chain[0]
    if len(chain) == 1 and leaf.issuer != leaf.subject and _has_issuer_address(leaf) and not _is_root(leaf.issuer):
        raise PairError(
            f"{path} lacks the certificate of {leaf.issuer.rfc4514_string()}, which has signed {_name(leaf)}: append "
            "it (what authorities call the full chain)"
        )


def _has_issuer_address(certificate: x509.Certificate) -> bool:
    """Return whether it says where its issuer is found, as those do that no root has signed (RFC 5280, 4.2.2.1)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _is_root(issuer: x509.Name) -> bool:
    """Return whether an authority is one that the system trusts: what it has signed needs nothing in between."""
    name = issuer.public_bytes()
    return any(name in root for root in ssl.create_default_context().get_ca_certs(binary_form=True))


def _check_dates(chain: Sequence[x509.Certificate], path: Path, now: datetime) -> None:
    for one in chain:
        if one.not_valid_after_utc <= now:
            raise PairError(f"{path}: {_name(one)} ended on {one.not_valid_after_utc:%Y-%m-%d}: write the renewed one")
        if one.not_valid_before_utc > now + AHEAD:
            raise PairError(
                f"{path}: {_name(one)} holds from {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only: write one that "
                "holds now"
            )


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "the certificate"
