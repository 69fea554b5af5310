"""What the pages and the API of devices need from the rest of the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from appliance.broker.floods.record import Flooder
from appliance.broker.refusals import BrokerRefusal
from appliance.ingest.limits.terms import BucketState

OWN_CA = "ca.crt"
"""The file into which the page on trusting the appliance, and the commands on it, put its CA."""


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Where devices publish, for the ready-made command. ``host`` None: the host of the page's own address."""

    host: str | None
    port: int
    options: str = ""
    """What the command needs beside them, for TLS."""
    http_options: str = ""
    """What ``curl`` needs for the appliance's own address under TLS."""
    named: str | None = None
    """A host name of the certificate, if it is by file: devices refuse it at any other. None: any address is right."""

    @property
    def needs_ca(self) -> bool:
        """Return whether a command reads the appliance's CA from ``ca.crt``."""
        return OWN_CA in self.options or OWN_CA in self.http_options

    def command(self, page_host: str, device: str, password: str, *, user: str | None = None) -> str:
        """Return the command that sends a first reading of ``device`` (``TENANT/device/DEVICE``).

        ``page_host``: the host and port that the browser used; ``user``: who publishes, by default the device itself.
        """
        host = self.host or self.named or urlsplit(f"//{page_host}").hostname
        return (
            f"mosquitto_pub -h {host} -p {self.port}{self.options} -u {user or device} -P '{password}' -q 1 "
            f"-t tenant/{device}/telemetry -m '{{\"temperature\": 21.5}}'"
        )


@dataclass(frozen=True, slots=True)
class DevicesPort:
    """The functions and facts that are handed in."""

    listener: ListenerAddress
    limit_of: Callable[[str, str, datetime | None, datetime], BucketState]
    """The limit in force for a device and what it may send now.

    Asked with its tenant's id and its own, when its allowance is full if that was noted, and when it was registered.
    """
    broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]]
    """What the broker refused lately, newest first: of all, of a tenant, or of a device (tenant id, device id)."""
    flooders: Callable[[str | None], Sequence[Flooder]]
    """Who is shut out of the broker for what it sent, the newest first: of all tenants, or of one."""
    retention_days: int
    """How many days readings are kept."""
