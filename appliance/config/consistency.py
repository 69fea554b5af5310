"""What must hold between keys of the configuration, and within a value beyond its type."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_interface
from urllib.parse import SplitResult, unquote, urlsplit

from appliance.config.broker_rules import broker_faults, broker_warnings
from appliance.config.schema import Backup, Config, Database, Delivery, Mail, Web
from appliance.config.secret import weakness
from appliance.config.tls_rules import tls_faults
from appliance.zones import fault_of

LEAST_BYTES = 268_435_456
"""The least of ``retention.max_bytes``: as much as the smallest disk that the appliance works on."""
_MAX_URL = 2000
"""Characters of an address."""
_NO_PUBLIC_URL = (
    "is not set: links in notices lead to the address of this machine in its network, which people elsewhere do not "
    "reach; set it to the address that they use"
)

_PATH = (
    'has a path, "{}": the appliance does not work below a path of another site; give it a host name or a port of its '
    "own, and write http://HOST[:PORT] or https://HOST[:PORT]"
)
_UNSEALED = (
    "is set without backup.passphrase, and no backup is written without one: run `appliance backup --make-passphrase "
    "FILE`, print what it shows, and set passphrase_file to that file"
)
_NO_PROXIES = (
    "is not set, but web.public_url is https, which a proxy serves: everybody counts as that proxy, so that wrong "
    "passwords of one delay all, and /metrics needs a token even from this machine; set it to the proxy's address"
)

_PLAIN_URL = "is http, but web.tls is set: whoever follows a link there is sent on to https. Write https://"


def faults(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong between keys, or within a value beyond its type: the keys concerned and the message."""
    broker, web, ingest = config.broker, config.web, config.ingest
    yield from tls_faults(config)
    yield from broker_faults(broker)
    if 2 * ingest.batch_size > ingest.receive_max:
        keys = ("ingest.batch_size", "ingest.receive_max")
        yield keys, f"batch_size must be at most half of receive_max (now {ingest.batch_size} and {ingest.receive_max})"
    if config.retention.rollup_days < config.retention.days:
        yield ("retention.rollup_days", "retention.days"), "rollup_days must be at least as many as retention.days"
    yield from _budget_faults(config)
    if config.presence.offline_after < config.presence.stale_after:
        yield ("presence.offline_after", "presence.stale_after"), "offline_after must be at least stale_after"
    for key, host in (("broker.host", broker.host), ("web.host", web.host), ("mail.host", config.mail.host)):
        if host is not None and (fault := _host_fault(host)):
            yield (key,), fault
    if web.public_url is not None and (fault := _url_fault(web.public_url)):
        yield ("web.public_url",), fault
    yield from _web_faults(web)
    yield from ((("database.url",), fault) for fault in _database_faults(config.database))
    yield from _delivery_faults(config.delivery)
    yield from _mail_faults(config.mail)
    yield from _backup_faults(config.backup)


def _budget_faults(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the most that the data folder may take."""
    most = config.retention.max_bytes
    if 0 < most < LEAST_BYTES:
        message = (
            f"must be at least {LEAST_BYTES}, of which the log of Postgres and the reserve for a full disk take the "
            "half, or 0 for no limit but the disk's"
        )
        yield ("retention.max_bytes",), message
    if most and config.database.url is not None:
        message = (
            "counts what is below data_dir, and with database.url the readings are elsewhere: leave it out, and set "
            "retention.days by the room that the database has"
        )
        yield ("retention.max_bytes", "database.url"), message


def warnings(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what works and yet may not be what is meant: the key and the message."""
    if config.web.public_url is None:
        yield "web.public_url", _NO_PUBLIC_URL
    elif config.web.public_url.startswith("https:") and not config.web.trusted_proxies and not config.web.tls:
        yield "web.trusted_proxies", _NO_PROXIES
    elif config.web.public_url.startswith("http:") and config.web.tls:
        yield "web.public_url", _PLAIN_URL
    yield from broker_warnings(config.broker)


def _backup_faults(backup: Backup) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the passphrase and the time of backups."""
    if backup.passphrase is not None and (weak := weakness(backup.passphrase.reveal())):
        yield ("backup.passphrase",), weak
    if backup.folder is not None and backup.passphrase is None:
        yield ("backup.folder",), _UNSEALED
    if fault := fault_of(backup.time_zone):
        yield ("backup.time_zone",), fault


def _web_faults(web: Web) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the public address, and with the addresses and networks of proxies."""
    if web.public_url is not None and (path := urlsplit(web.public_url).path):
        yield ("web.public_url",), _PATH.format(path)
    yield from ((("web.trusted_proxies",), fault) for fault in _proxy_faults(web.trusted_proxies))


def _proxy_faults(proxies: Iterable[str]) -> Iterator[str]:
    for text in proxies:
        try:
            written = ip_interface(text)
        except ValueError:
            yield f'"{text}" is neither an address nor a network; write 127.0.0.1, ::1 or 10.20.0.0/24'
            continue
        if written.network.prefixlen == 0:
            yield f'"{text}" is every address, so that anybody could name any client; list the proxies alone'
        elif written.ip != written.network.network_address:
            yield f'"{text}" is an address in a network; write {written.ip} or {written.network}'


def _host_fault(host: str) -> str | None:
    """Return what is wrong with a host that looks like an address and is none."""
    try:
        if ":" in host:
            IPv6Address(host)
        elif host.replace(".", "").isdigit():
            IPv4Address(host)
    except ValueError:
        return f'"{host}" is not an address: IPv4 has four numbers up to 255, IPv6 is written without brackets'
    return None


def _url_fault(url: str) -> str | None:
    """Return what is wrong with the host or the port of an address that has the right form."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        return "has a port that cannot be; a port is a number from 1 to 65535"
    return _host_fault(parts.hostname or "")


def _delivery_faults(delivery: Delivery) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the networks and deadlines of deliveries."""
    for text in delivery.allow_networks:
        try:
            written = ip_interface(text)
        except ValueError:
            yield ("delivery.allow_networks",), f'"{text}" is not a network; write ADDRESS/BITS, such as 10.20.0.0/24'
        else:
            if written.ip != written.network.network_address:
                yield ("delivery.allow_networks",), f'"{text}" is an address in a network; write {written.network}'
    for name in ("name", "connect", "tls", "write", "read"):
        if getattr(delivery, f"{name}_timeout") > delivery.total_timeout:
            keys = (f"delivery.{name}_timeout", "delivery.total_timeout")
            yield keys, f"{name}_timeout must be at most total_timeout (now {delivery.total_timeout:g})"
    if delivery.heartbeat_url is not None and (fault := _heartbeat_fault(delivery.heartbeat_url.reveal())):
        yield ("delivery.heartbeat_url",), fault


def _heartbeat_fault(text: str) -> str | None:
    """Return what is wrong with the address that is called, without quoting it."""
    try:
        parts = urlsplit(text)
        named = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named or len(text) > _MAX_URL or not text.isprintable() or " " in text or "\\" in text:
        return "is not an address; write https://HOST/PATH"
    if "@" in parts.netloc or "#" in text:
        return "must have no user name, no password and no #; write https://HOST/PATH"
    return None


def _mail_faults(mail: Mail) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong between the keys of the mail server."""
    if mail.host is None:
        for name in ("ca", "username", "password", "sender"):
            if getattr(mail, name) is not None:
                yield (f"mail.{name}",), "is for a mail server; set mail.host too, or leave it out"
        return
    if mail.sender is None:
        yield ("mail.host",), "needs mail.sender too, the address that mail comes from"
    if (mail.username is None) != (mail.password is None):
        given, missing = ("username", "password") if mail.password is None else ("password", "username")
        yield (f"mail.{given}",), f"needs mail.{missing} too"
    if mail.password is not None:
        if mail.tls == "none":
            yield ("mail.tls", "mail.password"), 'a password is only sent under TLS; use "starttls" or "tls"'
        if weak := weakness(mail.password.reveal()):
            yield ("mail.password",), weak


def _database_faults(database: Database) -> Iterator[str]:
    """Yield what is wrong with the address of Postgres, without quoting it."""
    if database.url is None:
        return
    try:
        parts = urlsplit(database.url.reveal())
    except ValueError:
        yield "is not a valid address; it must be postgresql://USER@HOST:PORT/DATABASE"
        return
    if parts.scheme not in {"postgresql", "postgres"} or "//" not in database.url.reveal():
        yield "must start with postgresql://, for example postgresql://USER@HOST:PORT/DATABASE"
        return
    ports = [*_ports(parts), *filter(None, _option(parts, "port").split(","))]
    if any(not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) for port in ports):
        yield "has a port that cannot be; a port is a number from 1 to 65535"
    userinfo = parts.netloc.rpartition("@")[0]
    password = unquote(userinfo.partition(":")[2]) or _option(parts, "password")
    if password and (weak := weakness(password)):
        yield f"its password {weak}"
    remote = [host for host in _hosts(parts) if not _is_local(host)]
    if remote and _option(parts, "sslmode") in {"disable", "allow"} and not database.allow_insecure:
        yield f"would send data in clear text to {remote[0]}; use sslmode=verify-full, or set database.allow_insecure"


def _hosts(parts: SplitResult) -> list[str]:
    """Return the hosts of a libpq address, which may name several; empty means a Unix socket."""
    listed = parts.netloc.rpartition("@")[2] or _option(parts, "host") or _option(parts, "hostaddr")
    return [host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host for host in listed.split(",")]


def _ports(parts: SplitResult) -> list[str]:
    """Return the ports of a libpq address that are written behind its hosts."""
    listed = parts.netloc.rpartition("@")[2].split(",")
    return [one.rpartition(":")[2] for one in listed if ":" in one.rpartition("]")[2]]


def _option(parts: SplitResult, name: str) -> str:
    """Return a parameter of an address; the last one counts, as for libpq."""
    pairs = [pair.partition("=") for pair in parts.query.split("&")]
    return next((unquote(value) for key, _, value in reversed(pairs) if key == name), "")


def _is_local(host: str) -> bool:
    return host in {"", "localhost", "[::1]"} or host.startswith(("/", "127.", "%2F", "%2f"))
