"""What the quarantine's pages and API need from the rest of the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.broker.refusals import BrokerRefusal
from appliance.ingest.quarantine.replay_preview import ReplayPreviewer


@dataclass(frozen=True, slots=True)
class QuarantinePort:
    """The functions and facts that are handed in."""

    previewer: ReplayPreviewer
    """Previews replays of held messages."""
    broker_refusals: Callable[[str | None, str | None], Sequence[BrokerRefusal]]
    """What the broker refused lately, newest first: of all, of a tenant, or of a device (tenant id, device id)."""
    own_broker: bool
    """Whether the appliance runs the broker itself, and so knows what it refuses."""
