"""How long each step of a try may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for each step, and for all together."""

    name: float
    connect: float
    tls: float
    write: float
    read: float
    total: float
