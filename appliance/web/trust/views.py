"""/ca.crt and /trust: without a sign-in, and over plain HTTP too. Whoever needs them has no trusted way to us yet.

The CA is sent as PEM: Windows, Android, iOS, macOS and Firefox take it as they take DER, and it is what curl,
mosquitto_pub, mbedTLS and BearSSL read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509
from quart import Blueprint, Response, abort, request

from appliance.web.access.auth import OPEN, allow
from appliance.web.devices.port import ListenerAddress
from appliance.web.http.hardening import HostPolicy
from appliance.web.http.tls import CertificateSource, ShownAuthority
from appliance.web.page.templating import Templates
from appliance.web.platform import Platform

CONTENT_TYPE = "application/x-x509-ca-cert"
"""By which browsers of phones offer to install it."""
FINGERPRINT_LINES = 4


@dataclass(frozen=True, slots=True)
class TrustPage:
    """What the page shows."""

    name: str
    """Of the CA, by which it is found in a list of trusted ones."""
    fingerprint: Sequence[str]
    """In lines."""
    ends: datetime
    pem_lines: Sequence[str]
    plain_url: str
    """Where a program that trusts nobody yet fetches the CA."""
    https_url: str
    for_browsers: bool
    """Whether the dashboard's certificate is of the CA."""
    mqtt_command: str | None
    """None where no device needs the CA."""
    unknown_host: str | None
    """The host that this browser asked for, if no certificate is for it."""
    may_not_sign: bool
    """Whether that is so because the CA was made before the name was configured."""


def blueprint(platform: Platform, templates: Templates, listener: ListenerAddress) -> Blueprint:
    """Return the routes."""
    routes = Blueprint("trust", __name__)

    @routes.get("/ca.crt")
    @allow(OPEN)
    async def authority() -> Response:
        return Response(_own(platform.certificates).pem, content_type=CONTENT_TYPE)

    @routes.get("/trust")
    @allow(OPEN)
    async def trust() -> Response:
        page = _page(platform.certificates, _own(platform.certificates), listener, request.host)
        return Response(templates.render("trust/trust.html", shown=page), content_type="text/html; charset=utf-8")

    return routes


def _own(certificates: CertificateSource) -> ShownAuthority:
    """Return our own CA; 404 where there is none."""
    if certificates.ca is None:
        abort(404)
    return certificates.ca


def _page(
    certificates: CertificateSource, authority: ShownAuthority, listener: ListenerAddress, host: str
) -> TrustPage:
    web, broker = certificates.web, certificates.broker
    unknown = _not_named(host, [one.names for one in (web, broker) if one is not None and one.own])
    parts = authority.fingerprint.split(":")
    step = -(-len(parts) // FINGERPRINT_LINES)
    hex_lines = [":".join(parts[start : start + step]) for start in range(0, len(parts), step)]
    for_devices = broker is not None and broker.own
    return TrustPage(
        name=_common_name(authority.pem),
        fingerprint=hex_lines,
        ends=authority.not_after,
        pem_lines=authority.pem.decode("ascii").strip().splitlines(),
        plain_url=f"http://{host}/ca.crt",
        https_url=f"https://{host}/",
        for_browsers=web is not None and web.own,
        mqtt_command=listener.command(host, "TENANT/device/DEVICE", "PASSWORD") if for_devices else None,
        unknown_host=unknown,
        may_not_sign=unknown in certificates.left_out,
    )


def _not_named(host: str, certificates: Sequence[Sequence[str]]) -> str | None:
    """Return the host of a Host header if a certificate does not name it."""
    name = urlsplit(f"//{host}").hostname or ""
    known = all(HostPolicy(frozenset()).with_names(names).names_itself(name) for names in certificates)
    return None if known else name


def _common_name(pem: bytes) -> str:
    subject = x509.load_pem_x509_certificate(pem).subject
    return str(next(iter(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME))).value)
