"""The sections and keys of the configuration as frozen structs, with their types, bounds and defaults.

The committed ``appliance.toml`` says what each key means and in which unit; it is the complete default.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from appliance.config.secret import MASK, Secret
from appliance.config.sources import fields_of
from appliance.mqtt.transport import Address, TlsFiles
from appliance.mqtt.transport.address import FORMS, parse

SYSTEM_DATA_DIR = Path("/var/lib/appliance")

Port = Annotated[int, Meta(ge=0, le=65535)]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:%-]{1,253}\Z", description="a host name or an IP address")]
Username = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z", description="1 to 128 visible ASCII characters")]
BrokerUrl = Annotated[str, Meta(description=FORMS)]
PublicUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(:[0-9]{1,5})?(/[!-~]*)?\Z",
        description="http://HOST[:PORT] or https://HOST[:PORT], without a path",
    ),
]
MailAddress = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\Z",
        max_length=254,
        description="a plain e-mail address, such as appliance@example.org",
    ),
]

Network = Annotated[
    str,
    Meta(pattern=r"^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?\Z", description="a network, such as 10.20.0.0/24 or fd12::/64"),
]
Proxy = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?\Z",
        description="an address or a network, such as 127.0.0.1, ::1 or 10.20.0.0/24",
    ),
]
CertificateName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_.:-]{1,253}\Z", description="a host name or an IP address, such as gateway.example"),
]
TimeOfDay = Annotated[
    str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description='a time of day, such as "02:30"')
]
TargetPort = Annotated[int, Meta(ge=1, le=65535)]
Deadline = Annotated[float, Meta(ge=0.1, le=60)]
Seats = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""Devices that may be active at once, up to what a column of the database holds."""


class Broker(Struct, frozen=True, kw_only=True):
    """The MQTT broker: an external one at ``url``, else the embedded one, which devices reach at ``host``:``port``, and
    under TLS at ``host``:``tls_port``."""

    url: BrokerUrl | None = None
    username: Username | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None
    host: Host = "0.0.0.0"  # noqa: S104 - devices come from the network
    port: Port = 1883
    tls_port: Port | None = None
    plain: bool = True
    certificate_file: Path | None = None
    key_file: Path | None = None
    bind_client_ids: bool = False

    def address(self) -> Address | None:
        """Return where the external broker is; None when the broker is embedded."""
        return None if self.url is None else parse(self.url)

    def tls_files(self) -> TlsFiles:
        """Return whom to trust at the external broker, and who we are."""
        return TlsFiles(self.ca_file, self.client_certificate_file, self.client_key_file)


class Database(Struct, frozen=True, kw_only=True):
    """Postgres: an external one at ``url``, else the embedded one."""

    url: Secret | None = None
    allow_insecure: bool = False
    pool_size: Annotated[int, Meta(ge=2, le=64)] = 8


class Ingest(Struct, frozen=True, kw_only=True):
    """Limits of a message, and how many are taken at once."""

    max_payload_bytes: Annotated[int, Meta(ge=128, le=1_048_576)] = 16_384
    max_clock_skew: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    require_token: bool = True
    require_payload_token: bool = False
    batch_size: Annotated[int, Meta(ge=1, le=32_767)] = 2048
    receive_max: Annotated[int, Meta(ge=2, le=65_535)] = 4096


class Limits(Struct, frozen=True, kw_only=True):
    """Token buckets and allowances of devices and tenants, and the janitor that clears them."""

    rate: Annotated[float, Meta(ge=0.001, le=1_000_000)] = 10.0
    burst: Annotated[int, Meta(ge=1, le=10_000_000)] = 50
    tenant_rate: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    backlog: Annotated[float, Meta(ge=0, le=31_536_000)] = 86_400.0
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


class Alerts(Struct, frozen=True, kw_only=True):
    """How alerts open, close and are told."""

    reopen_after: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0
    site_silent_devices: Annotated[int, Meta(ge=2, le=1_000_000)] = 3
    site_silent_share: Annotated[float, Meta(ge=0.25, le=1)] = 0.8


class Quarantine(Struct, frozen=True, kw_only=True):
    """How much is kept for replay, for each tenant."""

    max_bytes: Annotated[int, Meta(ge=0, le=1_099_511_627_776)] = 268_435_456
    max_age_days: Annotated[int, Meta(ge=1, le=3650)] = 7


class Subscriptions(Struct, frozen=True, kw_only=True):
    """The phases of a subscription after its term, when renewing opens, and the most seats of each plan."""

    grace_days: Annotated[int, Meta(ge=0, le=365)] = 14
    renewal_opens_days: Annotated[int, Meta(ge=0, le=3650)] = 30
    plans: Annotated[Mapping[str, Seats], Meta(max_length=256)] = {}


class Web(Struct, frozen=True, kw_only=True):
    """The dashboard, the JSON API and HTTP ingest."""

    host: Host = "0.0.0.0"  # noqa: S104 - people and devices come from the network
    port: Port = 8080
    tls: bool = False
    plain: bool = True
    tls_names: Annotated[tuple[CertificateName, ...], Meta(max_length=64)] = ()
    certificate_file: Path | None = None
    key_file: Path | None = None
    public_url: PublicUrl | None = None
    trusted_proxies: Annotated[tuple[Proxy, ...], Meta(max_length=256)] = ()
    api_rate: Annotated[int, Meta(ge=1, le=10_000_000)] = 600
    api_burst: Annotated[int, Meta(ge=1, le=10_000_000)] = 300


class Delivery(Struct, frozen=True, kw_only=True):
    """Where notices may go, and how long a try takes."""

    allow_networks: Annotated[tuple[Network, ...], Meta(max_length=256)] = ()
    allow_ports: Annotated[tuple[TargetPort, ...], Meta(max_length=64)] = ()
    name_timeout: Deadline = 3.0
    connect_timeout: Deadline = 4.0
    tls_timeout: Deadline = 4.0
    write_timeout: Deadline = 4.0
    read_timeout: Deadline = 8.0
    total_timeout: Deadline = 10.0
    max_age_days: Annotated[int, Meta(ge=1, le=90)] = 7
    heartbeat_url: Secret | None = None
    heartbeat_seconds: Annotated[float, Meta(ge=1, le=3600)] = 60.0


class Mail(Struct, frozen=True, kw_only=True):
    """The mail server for e-mail integrations without one of their own; off without ``host``."""

    host: Host | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca: Path | None = None
    username: Username | None = None
    password: Secret | None = None
    sender: MailAddress | None = None


class Retention(Struct, frozen=True, kw_only=True):
    """How long readings are kept, and how much the data folder may take."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 30
    max_bytes: Annotated[int, Meta(ge=0, le=1_125_899_906_842_624)] = 0
    when_full: Literal["drop", "hold"] = "drop"
    rollup_days: Annotated[int, Meta(ge=1, le=36_500)] = 400


class Backup(Struct, frozen=True, kw_only=True):
    """Backups every night to a folder, and the passphrase of all backups."""

    folder: Path | None = None
    passphrase: Secret | None = None
    keep: Annotated[int, Meta(ge=1, le=3650)] = 7
    at: TimeOfDay = "02:30"
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"


class Log(Struct, frozen=True, kw_only=True):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


def default_data_dir(file: Path | None = None) -> Path:
    """Return the default data_dir: /var/lib/appliance for root and for a file in /etc, else ``var`` beside the file."""
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
    alerts: Alerts = Alerts()
    subscriptions: Subscriptions = Subscriptions()
    web: Web = Web()
    delivery: Delivery = Delivery()
    mail: Mail = Mail()
    retention: Retention = Retention()
    backup: Backup = Backup()
    log: Log = Log()


FIELDS = fields_of(Config)
"""Every key by its dotted name."""


def masked(config: Config) -> dict[str, object]:
    """Return every effective value by its dotted name, for JSON; of a secret, only whether it is set."""
    return {key: _plain(value_of(config, key)) for key in FIELDS}


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value) if isinstance(value, Path) else value


def value_of(config: Config, key: str) -> Any:
    """Return the value of a key, for example ``broker.port``."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
