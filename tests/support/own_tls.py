"""Certificates as the appliance issues them, and what clients of tests see of a server's."""

import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.authority import Authority, issue, make_authority
from appliance.tls.names import names_of

DAY = timedelta(days=1)


class OwnAuthority:
    """An authority of an appliance, with its file for clients."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.authority: Authority = make_authority(names_of(names), BUILD_DATE)[0]
        self.file = folder / "ca.crt"
        self.file.write_bytes(self.authority.pem)

    def issue(self, *names: str, begins: datetime | None = None, ends: datetime | None = None) -> bytes:
        """Return a certificate and its key, of today unless told otherwise."""
        now = datetime.now(UTC)
        return issue(self.authority, names_of(names), begins or now - DAY, ends or now + 100 * DAY)


def fingerprint_of(pem: bytes) -> str:
    """Return the SHA-256 of a certificate in hex."""
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


def client_context(ca_file: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Return a context that verifies chain and name by one authority, and speaks one version if it is given."""
    context = ssl.create_default_context(cafile=ca_file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def handshake(context: ssl.SSLContext, host: str, port: int, name: str | None = None) -> str:
    """Shake hands, and return the fingerprint of the server's certificate. Raises ssl.SSLError."""
    with (
        socket.create_connection((host, port), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname=name or host) as stream,
    ):
        certificate = stream.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def refusal(port: int, version: str) -> str:
    """Return what OpenSSL says that a server answers to an old version, such as ``-tls1_1``."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    return done.stderr
