"""Certificates within the start: what the configuration and the machine say of them."""

from functools import partial

from appliance.broker.listener_certificate import ListenerCertificate
from appliance.children.data_dir import DataDir
from appliance.children.mosquitto import Mosquitto
from appliance.clock import Clock
from appliance.config import Config, Web
from appliance.mqtt.client import Client
from appliance.runtime.address_changes import follow_addresses
from appliance.runtime.addresses import EVERYWHERE, lan_addresses
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.room import persist
from appliance.tls.certificates import Certificate, Certificates
from appliance.tls.configured import names_of_machine, sources_of
from appliance.tls.names import is_host_name


def make_certificates(config: Config, data: DataDir, clock: Clock) -> Certificates:
    """Return the certificates of the listeners under TLS, not opened yet."""
    names = partial(names_of_machine, config)
    return Certificates(data.path / "tls", data.sockets / "tls", sources_of(config), names, clock)


async def open_certificates(base: Foundation) -> None:
    """Make or read the certificates, and keep them up to date. Raises ApplianceError for files that cannot be used."""
    certificates = base.certificates
    await persist(base.disk, certificates.open, what="certificates")
    if certificates.web is None and certificates.broker is None:
        return

    def measure() -> None:
        for name, one in (("web", certificates.web), ("broker", certificates.broker)):
            if one is not None:
                base.metrics.certificate_ends.labels(name).set(one.not_after.timestamp())

    measure()
    certificates.subscribe(measure)
    base.clock.subscribe(lambda _step: certificates.look_now())
    await base.tree.start("certificates", certificates.run)
    if certificates.ca is not None:
        await base.tree.start("address changes", follow_addresses, certificates.look_now)


def certificate_of(base: Foundation) -> bytes:
    """Return the certificate of the devices' listener with its key, as PEM text. Reads a file."""
    certificate = base.certificates.broker
    assert certificate is not None  # noqa: S101 - for the type checker; who asks has a listener under TLS
    return certificate.chain_file.read_bytes()


async def follow_certificate(base: Foundation, mosquitto: Mosquitto, client: Client) -> None:
    """Give the broker each new certificate of its listener."""
    listener = ListenerCertificate(mosquitto, partial(certificate_of, base))
    base.certificates.subscribe(listener.changed)
    await base.tree.start("broker certificate", listener.run, client.ready)


def web_hosts(web: Web, shown: Certificate | None) -> list[str]:
    """Return the hosts by which people reach the dashboard, which shows a certificate, now; the best first.

    A certificate by file is for the name that it bears: browsers refuse it at any address.
    """
    named = () if shown is None or shown.own else shown.names
    hosts = [name for name in named if is_host_name(name)]
    return hosts or (lan_addresses() if web.host in EVERYWHERE else [web.host])
