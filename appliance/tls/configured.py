"""What the configuration says of certificates: where each listener has its own from, and how this machine is called."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from appliance.config import Broker, Config, Web
from appliance.runtime.addresses import EVERYWHERE, all_addresses
from appliance.tls.names import Names, machine_names
from appliance.tls.pair import Files


@dataclass(frozen=True, slots=True)
class Source:
    """Files that hold a listener's certificate and its key, and the settings that name them."""

    files: Files
    settings: Mapping[Path, str]
    """File -> setting, such as ``web.key_file``."""

    def with_setting(self, trouble: str) -> str:
        """Return a trouble that begins with a path, preceded by the setting that names that file."""
        found = next((setting for path, setting in self.settings.items() if trouble.startswith(str(path))), None)
        return f"{found or next(iter(self.settings.values()))}: {trouble}"


def sources_of(config: Config) -> Mapping[str, Source | None]:
    """Return an entry for each listener under TLS, ``web`` and ``broker``: its files, None for one of our own."""
    sources: dict[str, Source | None] = {}
    if config.web.tls:
        sources["web"] = _source("web", config.web)
    if config.broker.url is None and config.broker.tls_port is not None:
        sources["broker"] = _source("broker", config.broker)
    return sources


def names_of_machine(config: Config) -> Names:
    """Return what this machine is called now: by the configuration first, then by itself and its networks."""
    return machine_names(socket.gethostname(), all_addresses(), configured_names(config))


def configured_names(config: Config) -> list[str]:
    """Return the names and addresses of this machine that stand in the configuration."""
    web, broker = config.web, config.broker
    public = None if web.public_url is None else urlsplit(web.public_url).hostname
    listening = [host for host in (web.host, broker.host) if host not in EVERYWHERE]
    return [*web.tls_names, *([] if public is None else [public]), *listening]


def _source(section: str, settings: Web | Broker) -> Source | None:
    certificate = settings.certificate_file
    if certificate is None:
        return None
    key = settings.key_file or certificate
    names = {certificate: f"{section}.certificate_file"}
    if key != certificate:
        names[key] = f"{section}.key_file"
    return Source(Files(certificate, key), names)
