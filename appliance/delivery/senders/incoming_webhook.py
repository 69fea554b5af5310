"""Types whose receiver is an address alone: whoever has it can post a message there, so it is the secret.

Such a type is its names, the field of the address, and a function that makes its message of a notice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from appliance.delivery.notices.notice import Notice
from appliance.delivery.outgoing.network import Destination, Network
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.fields import CA, checked
from appliance.delivery.senders.http_outcome import Receiver, send_json
from appliance.delivery.senders.sender import Field, Outcome, Target


def address(label: str, hint: str, placeholder: str) -> Field:
    """Return the field of the address."""
    return Field("url", label, "url", required=True, secret=True, hint=hint, placeholder=placeholder)


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """A type whose receiver is an address alone."""

    type: str
    label: str
    icon: str
    address: Field
    message: Callable[[Notice], Mapping[str, Any] | bytes]
    """Returns the message: JSON, or what becomes JSON."""
    may_merge: bool = True

    @property
    def fields(self) -> Sequence[Field]:
        """The fields of its form, in order."""
        return (self.address, CA)

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        parse(secrets["url"], "url")
        return found

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return where the address leads."""
        return [parse(secrets["url"], "url").destination]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Send the notice once."""
        receiver = Receiver(target.secrets["url"], target.config.get("ca"), secret=True)
        return await send_json(network, receiver, notice, self.message(notice))
