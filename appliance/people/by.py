"""Who changes something, and when."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from appliance.db.audit import Actor


@dataclass(frozen=True, slots=True)
class ChangeContext:
    """The actor of a change at an instant with a time zone; ``user_id`` if it is somebody signed in."""

    actor: Actor
    now: datetime
    user_id: UUID | None = None
