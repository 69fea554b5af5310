"""How bad an alert is."""

from enum import StrEnum


class Severity(StrEnum):
    """The severities, worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"
