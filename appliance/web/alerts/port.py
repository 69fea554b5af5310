"""What the pages of alerts need from the rest of the process."""

from dataclasses import dataclass

from appliance.delivery.links.acknowledge_link import AcknowledgeLinks


@dataclass(frozen=True, slots=True)
class AlertsPort:
    """The facts that are handed in."""

    reopen_after: float
    """Seconds after which an alert that a person closed may open anew although its condition did not clear."""
    retention_days: int
    """How many days readings are kept, for charts."""
    links: AcknowledgeLinks
    """Reads the links of notices."""
