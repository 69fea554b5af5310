"""The one way out: what a sender asks for, what it gets, and why it may get nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from appliance.delivery.outgoing.addresses import IPAddress
from appliance.delivery.outgoing.deadlines import Deadlines
from appliance.delivery.outgoing.mail_server import MailServer


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a connection goes, and what it is used for."""

    host: str
    """A name, or an IP address without brackets."""
    port: int
    usual_ports: frozenset[int]
    """The ports that this use may reach anywhere; others only in ``delivery.allow_networks`` and ``allow_ports``."""
    encrypted: bool
    """Whether TLS is certain. What is sent in clear text goes only to ``delivery.allow_networks``."""


RELAYED = Destination("", 0, frozenset(), encrypted=True)
"""What is sent by the operator's mail server, wherever that is."""
NO_RELAY = "server: the appliance has no mail server; an operator sets [mail] in appliance.toml, or choose another"


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection to a judged address."""

    stream: trio.SocketStream
    address: str
    name_seconds: float
    """How long the look-up of the name took; 0 for an address."""
    connect_seconds: float


class NotAllowed(Exception):
    """The destination is refused by the appliance. The message says how an operator can allow it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        """The field of the configuration that is to blame, where it is not the one with the address."""


class Unreached(Exception):
    """Nobody was reached: the name has no address, or no address answered."""


class Network(Protocol):
    """Dials for senders."""

    @property
    def deadlines(self) -> Deadlines:
        """How long each step of a try may take."""
        ...

    @property
    def relay(self) -> "Relay | None":
        """The operator's mail server, for e-mail integrations without one of their own; None: there is none."""
        ...

    async def check(self, destination: Destination) -> Sequence[IPAddress]:
        """Return the addresses that would be dialled, without dialling: for what people save.

        Raises NotAllowed when one of them is refused, Unreached when the name cannot be resolved now.
        """
        ...

    async def dial(self, destination: Destination) -> Dialled:
        """Return a connection to an allowed address. Raises NotAllowed, Unreached. Nothing is sent on it."""
        ...


@dataclass(frozen=True, slots=True)
class Relay:
    """The mail server that the operator's file names."""

    server: MailServer
    sender: str
    """The address that mail comes from."""
    network: Network
    """It may stand anywhere: what an operator writes is not held against the list of networks."""
