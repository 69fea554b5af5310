"""Certificates within the start: what the configuration and the machine say of them."""

import socket
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from appliance.broker.listener_certificate import ListenerCertificate
from appliance.children.data_dir import DataDir
from appliance.children.mosquitto import Mosquitto
from appliance.clock import Clock
from appliance.config import Broker, Config, Web
from appliance.mqtt.client import Client
from appliance.runtime.address_changes import follow_addresses
from appliance.runtime.addresses import EVERYWHERE, all_addresses, lan_addresses
from appliance.supervisor.foundation import Foundation
from appliance.supervisor.room import persist
from appliance.tls.certificates import Certificates, Source
from appliance.tls.names import Names, is_host_name, machine_names
from appliance.tls.pair import Files


def make_certificates(config: Config, data: DataDir, clock: Clock) -> Certificates:
    """Return the certificates of the listeners under TLS, not opened yet."""
    sources: dict[str, Source | None] = {}
    if config.web.tls:
        sources["web"] = _source("web", config.web)
    if config.broker.url is None and config.broker.tls_port is not None:
        sources["broker"] = _source("broker", config.broker)
    return Certificates(data.path / "tls", data.sockets / "tls", sources, partial(_names, config), clock)


async def open_certificates(base: Foundation) -> None:
    """Make or read the certificates, and keep them up to date. Raises ApplianceError for files that cannot be used."""
    certificates = base.certificates
    await persist(base.disk, certificates.open, what="certificates")
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


def web_hosts(base: Foundation) -> list[str]:
    """Return the hosts by which people reach the dashboard now, the best first.

    A certificate by file is for the name that it bears: browsers refuse it at any address.
    """
    web, shown = base.config.web, base.certificates.web
    named = () if shown is None or shown.own else shown.names
    hosts = [name for name in named if is_host_name(name)]
    return hosts or (lan_addresses() if web.host in EVERYWHERE else [web.host])


def _source(section: str, settings: Web | Broker) -> Source | None:
    certificate = settings.certificate_file
    if certificate is None:
        return None
    key = settings.key_file or certificate
    keys: dict[Path, str] = {certificate: f"{section}.certificate_file"}
    if key != certificate:
        keys[key] = f"{section}.key_file"
    return Source(Files(certificate, key), keys)


def _names(config: Config) -> Names:
    """Return what this machine is called now."""
    web, broker = config.web, config.broker
    given = [host for host in (web.host, broker.host) if host not in EVERYWHERE]
    public = None if web.public_url is None else urlsplit(web.public_url).hostname
    configured = [*web.tls_names, *([] if public is None else [public]), *given]
    return machine_names(socket.gethostname(), all_addresses(), configured)
