"""The configuration: ``appliance.toml`` and ``APPLIANCE_*`` variables as frozen structs.

Enters: a file, the environment. Leaves: ``Loaded``, or one ConfigurationError that names the place, the key, what is
wrong and what is allowed. Never: a started service, a secret in a message. What each key means and its unit stand in
the committed ``appliance.toml``, the complete default.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from appliance.config import file as config_file
from appliance.config.secret import MASK, Secret, weakness
from appliance.config.sources import fields_of, given_in_environment, given_in_file
from appliance.errors import ConfigurationError

__all__ = ["Broker", "Config", "Database", "Ingest", "Limits", "Loaded", "Log", "Presence", "Provisioning"]
__all__ += ["Quarantine", "Retention", "Secret", "Subscriptions", "Web", "load"]

DEFAULT = "default"
SYSTEM_DATA_DIR = Path("/var/lib/appliance")

Port = Annotated[int, Meta(ge=0, le=65535)]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:%-]{1,253}\Z", description="a host name or an IP address")]
Username = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z", description="1 to 128 visible ASCII characters")]
BrokerUrl = Annotated[
    str,
    Meta(
        pattern=r"^mqtt://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?/?\Z",
        description="mqtt://HOST or mqtt://HOST:PORT (user and password have keys of their own)",
    ),
]
PublicUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?\Z",
        description="http://HOST[:PORT] or https://HOST[:PORT], without a path",
    ),
]


class Broker(Struct, frozen=True, kw_only=True):
    """The MQTT broker: an external one at ``url``, else the embedded one, which devices reach at ``host``:``port``."""

    url: BrokerUrl | None = None
    username: Username | None = None
    password: Secret | None = None
    host: Host = "0.0.0.0"  # noqa: S104 - devices come from the network
    port: Port = 1883

    def address(self) -> tuple[str, int] | None:
        """Host and port of the external broker; None when the broker is embedded."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 1883


class Database(Struct, frozen=True, kw_only=True):
    """Postgres: an external one at ``url``, else the embedded one."""

    url: Secret | None = None
    allow_insecure: bool = False
    pool_size: Annotated[int, Meta(ge=2, le=64)] = 8


class Ingest(Struct, frozen=True, kw_only=True):
    """What a message may be, and how many are taken at once."""

    max_payload_bytes: Annotated[int, Meta(ge=128, le=1_048_576)] = 16_384
    max_clock_skew: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    require_token: bool = True
    require_payload_token: bool = False
    batch_size: Annotated[int, Meta(ge=1, le=32_767)] = 2048
    receive_max: Annotated[int, Meta(ge=2, le=65_535)] = 4096


class Limits(Struct, frozen=True, kw_only=True):
    """Token buckets of devices and tenants, and the janitor that clears them."""

    rate: Annotated[float, Meta(ge=0.001, le=1_000_000)] = 10.0
    burst: Annotated[int, Meta(ge=1, le=10_000_000)] = 50
    tenant_rate: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    bucket_ttl: Annotated[float, Meta(ge=1, le=604_800)] = 3600.0
    janitor_interval: Annotated[float, Meta(ge=0.1, le=86_400)] = 300.0
    max_tracked_devices: Annotated[int, Meta(ge=1, le=10_000_000)] = 200_000


class Provisioning(Struct, frozen=True, kw_only=True):
    """How long a message waits for its new device, and for how long a refusal is remembered."""

    max_wait: Annotated[float, Meta(ge=0.1, le=60)] = 5.0
    refusal_ttl: Annotated[float, Meta(ge=0, le=300)] = 5.0


class Presence(Struct, frozen=True, kw_only=True):
    """When a silent device is called STALE, and when OFFLINE, at the earliest."""

    stale_after: Annotated[float, Meta(ge=1, le=31_536_000)] = 90.0
    offline_after: Annotated[float, Meta(ge=1, le=31_536_000)] = 300.0


class Quarantine(Struct, frozen=True, kw_only=True):
    """How much is held for replay, for each tenant."""

    max_bytes: Annotated[int, Meta(ge=0, le=1_099_511_627_776)] = 268_435_456
    max_age_days: Annotated[int, Meta(ge=1, le=3650)] = 7


class Subscriptions(Struct, frozen=True, kw_only=True):
    """The life of a subscription past its term."""

    grace_days: Annotated[int, Meta(ge=0, le=365)] = 14


class Web(Struct, frozen=True, kw_only=True):
    """The dashboard, the JSON API and HTTP ingest."""

    host: Host = "0.0.0.0"  # noqa: S104 - people and devices come from the network
    port: Port = 8080
    public_url: PublicUrl | None = None


class Retention(Struct, frozen=True, kw_only=True):
    """How long readings are kept."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 30
    rollup_days: Annotated[int, Meta(ge=1, le=36_500)] = 400


class Log(Struct, frozen=True, kw_only=True):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


def default_data_dir(file: Path | None = None) -> Path:
    """Where data lives when nobody says: /var/lib/appliance for root and for a file in /etc, else ``var`` beside it."""
    if os.geteuid() == 0 or (file is not None and file.absolute().is_relative_to("/etc")):
        return SYSTEM_DATA_DIR
    return (Path.cwd() if file is None else file.absolute().parent) / "var"


class Config(Struct, frozen=True, kw_only=True):
    """Everything that can be configured. Paths are absolute; durations are seconds where no unit is named."""

    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    broker: Broker = Broker()
    database: Database = Database()
    ingest: Ingest = Ingest()
    limits: Limits = Limits()
    provisioning: Provisioning = Provisioning()
    presence: Presence = Presence()
    quarantine: Quarantine = Quarantine()
    subscriptions: Subscriptions = Subscriptions()
    web: Web = Web()
    retention: Retention = Retention()
    log: Log = Log()


FIELDS = fields_of(Config)
"""Every key by its dotted name."""


def masked(config: Config) -> dict[str, object]:
    """Every effective value by its dotted name, as JSON knows it; of secrets, only that there is one."""
    return {key: _plain(_value(config, key)) for key in FIELDS}


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    return str(value) if isinstance(value, Path) else value


def _value(config: Config, key: str) -> Any:
    """The value of a key, for example ``broker.port``."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each value came from."""

    config: Config
    origins: Mapping[str, str]
    """Of every key in ``FIELDS``: ``file:line``, ``$VARIABLE`` or ``default``."""
    file: Path | None
    """The configuration file that was read."""

    def value(self, key: str) -> Any:
        """The effective value of a key, for example ``broker.port``."""
        return _value(self.config, key)


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the configuration: the file (``path`` or a standard place), then ``environ`` over it.

    Raises ConfigurationError, one line, for the first fault.
    """
    file = config_file.locate(path, environ)
    in_file = {} if file is None else given_in_file(config_file.read(file), FIELDS)
    in_environment = given_in_environment(environ, FIELDS)
    for given in in_file.values():
        # a value that the environment overrides must be right too, or it bites on the day the variable goes
        if given.field.key in in_environment and not given.in_file:
            given.value()
    winners = in_file | in_environment
    config = _build({key: given.value() for key, given in winners.items()}, file)
    origins = {key: winners[key].place if key in winners else DEFAULT for key in FIELDS}
    for keys, fault in faults(config):
        key = next((key for key in keys if origins[key] != DEFAULT), keys[0])
        raise ConfigurationError(f"{origins[key]}: {key}: {fault}")
    return Loaded(config, origins, file)


def _build(values: Mapping[str, Any], file: Path | None) -> Config:
    """The configuration with ``values`` by dotted key over the defaults."""
    sections: dict[str, dict[str, Any]] = {field.section: {} for field in FIELDS.values()}
    for key, value in values.items():
        sections[FIELDS[key].section][FIELDS[key].name] = value
    top = {"data_dir": default_data_dir(file)} | sections.pop("")
    default = Config(**top)
    changed = {name: msgspec.structs.replace(getattr(default, name), **inner) for name, inner in sections.items()}
    return msgspec.structs.replace(default, **changed)


def faults(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is wrong between keys, or within a value beyond its type: the keys concerned and the words."""
    broker, web, ingest = config.broker, config.web, config.ingest
    if broker.url is None and broker.port == web.port != 0 and _overlap(broker.host, web.host):
        yield ("web.port", "broker.port"), f"broker.port and web.port are both {web.port}; choose another for one"
    if broker.url is None and (broker.username or broker.password):
        keys = ("broker.username", "broker.password")
        yield keys, "is for an external broker; set broker.url too, or leave it out"
    if broker.password and not broker.username:
        yield ("broker.password",), "needs broker.username too"
    if broker.password and (weak := weakness(broker.password.reveal())):
        yield ("broker.password",), weak
    if 2 * ingest.batch_size > ingest.receive_max:
        keys = ("ingest.batch_size", "ingest.receive_max")
        yield keys, f"batch_size must be at most half of receive_max (now {ingest.batch_size} and {ingest.receive_max})"
    if config.retention.rollup_days < config.retention.days:
        yield ("retention.rollup_days", "retention.days"), "rollup_days must be at least as many as retention.days"
    if config.presence.offline_after < config.presence.stale_after:
        yield ("presence.offline_after", "presence.stale_after"), "offline_after must be at least stale_after"
    yield from ((("database.url",), fault) for fault in _database_faults(config.database))


def _database_faults(database: Database) -> Iterator[str]:
    """What is wrong with the address of Postgres, without telling any of it."""
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
    userinfo = parts.netloc.rpartition("@")[0]
    password = unquote(userinfo.partition(":")[2]) or _option(parts, "password")
    if password and (weak := weakness(password)):
        yield f"its password {weak}"
    remote = [host for host in _hosts(parts) if not _is_local(host)]
    if remote and _option(parts, "sslmode") in {"disable", "allow"} and not database.allow_insecure:
        yield f"would send data in clear text to {remote[0]}; use sslmode=verify-full, or set database.allow_insecure"


def _hosts(parts: SplitResult) -> list[str]:
    """The hosts of a libpq address, which may name several; empty means a Unix socket."""
    listed = parts.netloc.rpartition("@")[2] or _option(parts, "host") or _option(parts, "hostaddr")
    return [host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host for host in listed.split(",")]


def _option(parts: SplitResult, name: str) -> str:
    """A parameter of an address; the last one counts, as for libpq."""
    pairs = [pair.partition("=") for pair in parts.query.split("&")]
    return next((unquote(value) for key, _, value in reversed(pairs) if key == name), "")


def _is_local(host: str) -> bool:
    return host in {"", "localhost", "[::1]"} or host.startswith(("/", "127.", "%2F", "%2f"))


def _overlap(one: str, other: str) -> bool:
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return one == other or one in everywhere or other in everywhere
