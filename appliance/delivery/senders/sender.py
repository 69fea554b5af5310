"""What a type of integration is: its fields, the check of what people enter, and how a notice is sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from appliance.delivery.notices.notice import Notice
from appliance.delivery.outgoing.network import Destination, Network

ANSWER_BYTES = 2048
"""Of an answer that are kept with the attempt."""
REQUEST_CHARACTERS = 8192
"""Of a masked request that are kept with the attempt."""


class Verdict(StrEnum):
    """What a try came to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """The receiver was reached, and may take it later: 5xx, 429, 408, a time-out after the connection was made."""
    REFUSED = "refused"
    """An answer that does not change: another 4xx, a redirect, a certificate, an address that is not allowed."""
    GONE = "gone"
    """410: the integration is to be disabled."""
    UNREACHED = "unreached"
    """Nobody was reached: no name, no connection. It uses no step of the retry table."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a try went."""

    verdict: Verdict
    latency: float
    """Seconds, from the start of the try to the end of the answer."""
    may_have_arrived: bool = False
    """Whether the notice was sent in whole and no answer came."""
    status: int | None = None
    """HTTP status, or the reply code of SMTP."""
    answer: bytes = b""
    """At most ANSWER_BYTES."""
    error: str | None = None
    """In words, for people; names no secret."""
    retry_after: float | None = None
    """Seconds the receiver asked for, at most an hour."""
    address: str | None = None
    """The IP address that was dialled."""
    request: str = ""
    """What was sent, secrets masked, at most REQUEST_CHARACTERS."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by step: ``name``, ``connect``, ``tls``, ``answer``."""
    by_dates: bool = False
    """Whether it was refused for the dates of a certificate, by the wall clock of this machine."""
    answered_at: datetime | None = None
    """The receiver's clock, where the answer has a Date."""


@dataclass(frozen=True, slots=True)
class Target:
    """An integration, opened for one try."""

    tenant_id: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a type's configuration: what forms, validation and documentation are made of."""

    name: str
    label: str
    kind: str
    """``url``, ``text``, ``lines`` (one value a line), ``number``, ``choice``, ``switch`` or ``pem``."""
    required: bool = False
    secret: bool = False
    hint: str = ""
    placeholder: str = ""
    choices: Sequence[tuple[str, str]] = ()
    """Value and label."""
    default: Any = None
    generate: Callable[[], str] | None = None
    """Makes a secret of the appliance's own when the integration is created, which is shown once; nobody enters it."""


class Sender(Protocol):
    """A type of integration."""

    @property
    def type(self) -> str:
        """The code of the type, as it stands in ``integrations.type``."""
        ...

    @property
    def label(self) -> str:
        """The name of the type, as pages have it."""
        ...

    @property
    def icon(self) -> str:
        """A symbol of static icons."""
        ...

    @property
    def fields(self) -> Sequence[Field]:
        """The fields of its form, in order."""
        ...

    @property
    def may_merge(self) -> bool:
        """Whether several alerts can be told in one notice; never for PagerDuty, which keeps an incident of each."""
        ...

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid, with the field named.

        ``secrets`` are in the clear and complete: those entered now, and those that are kept.
        """
        ...

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:
        """Return what a try dials, to be checked by ``Network.check`` when it is saved. ``config`` is canonical."""
        ...

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send a notice once. Raises nothing for what a receiver does; Cancelled passes."""
        ...
