"""What must hold of the keys of TLS, and of the ports beside one another."""

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import combinations

from appliance.config.schema import Broker, Config, Web

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
_MAX_LABEL = 63
"""Characters between two dots of a host name (RFC 1035, 2.3.4)."""

Faults = Iterator[tuple[tuple[str, ...], str]]


def tls_faults(config: Config) -> Faults:
    """Yield what is wrong: the keys concerned and the message. Files are read by whoever serves with them."""
    broker, web = config.broker, config.web
    yield from _port_faults(broker, web)
    if not web.tls:
        for key, given in (("certificate_file", web.certificate_file), ("key_file", web.key_file)):
            if given is not None:
                yield (f"web.{key}",), "is for a dashboard under TLS; set web.tls too, or leave it out"
        if not web.plain:
            yield ("web.plain", "web.tls"), "false leaves no way in; set web.tls too, or leave it out"
    yield from _key_faults("web", web)
    yield from _broker_faults(broker)
    if web.tls_names and not web.tls and (broker.tls_port is None or broker.url is not None):
        yield ("web.tls_names",), "is for certificates; set web.tls or broker.tls_port too, or leave it out"
    for name in web.tls_names:
        if fault := _name_fault(name):
            yield ("web.tls_names",), fault


def _broker_faults(broker: Broker) -> Faults:
    given = [key for key in ("certificate_file", "key_file") if getattr(broker, key) is not None]
    if broker.url is not None:
        yield from (((f"broker.{key}",), "is for the embedded broker; leave it out") for key in given)
        if not broker.plain:
            yield ("broker.plain", "broker.url"), "is for the embedded broker; leave it out"
        return
    if broker.tls_port is None:
        yield from (((f"broker.{key}",), "needs broker.tls_port too") for key in given)
        if not broker.plain:
            yield ("broker.plain", "broker.tls_port"), "false leaves no way in; set broker.tls_port too"
    yield from _key_faults("broker", broker)


def _key_faults(section: str, settings: Broker | Web) -> Faults:
    if settings.key_file is not None and settings.certificate_file is None:
        yield (f"{section}.key_file",), f"needs {section}.certificate_file too"


def _port_faults(broker: Broker, web: Web) -> Faults:
    """Yield each pair of listeners that would be in each other's way."""
    listeners = [("web.port", web.host, web.port)]
    if broker.url is None:
        if broker.plain:
            listeners.append(("broker.port", broker.host, broker.port))
        if broker.tls_port is not None:
            listeners.append(("broker.tls_port", broker.host, broker.tls_port))
    for (key, host, port), (other, other_host, other_port) in combinations(listeners, 2):
        if port == other_port != 0 and _overlap(host, other_host):
            yield (key, other), f"{other} and {key} are both {port}; choose another for one"


def _overlap(one: str, other: str) -> bool:
    return one == other or one in _EVERYWHERE or other in _EVERYWHERE


def _name_fault(name: str) -> str | None:
    """Return what is wrong with a name that is neither an address nor a host name."""
    try:
        ip_address(name)
    except ValueError:
        labels = name.rstrip(".").split(".")
        numbers = labels[-1].isdigit() or ":" in name
        if numbers or any(not 0 < len(label) <= _MAX_LABEL or label[0] == "-" or label[-1] == "-" for label in labels):
            return f'"{name}" is neither a host name nor an address; write gateway.example, 192.168.1.20 or fd12::20'
    return None
