"""A rule, and the devices that it is about."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from appliance.alerts.kinds.kind import KindName, Parameters
from appliance.severity import Severity


class Scope(msgspec.Struct, frozen=True):
    """The devices of a rule: those that any of the four lists names; with all of them empty, every device."""

    site_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    device_prefixes: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()

    def covers(self, device_id: str, site_id: str | None, tags: Collection[str]) -> bool:
        """Return whether the rule is about a device. The same as ``alert_rule_covers`` in the database."""
        if not (self.site_ids or self.tags or self.device_prefixes or self.device_ids):
            return True
        return (
            device_id in self.device_ids
            or site_id in self.site_ids
            or not set(self.tags).isdisjoint(tags)
            or device_id.startswith(self.device_prefixes)
        )


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A row of ``alert_rules``."""

    tenant_id: str
    rule_id: UUID
    name: str
    description: str
    enabled: bool
    severity: Severity
    kind: KindName
    parameters: Parameters
    scope: Scope
    built_in: str | None
    """``NO_HEARTBEAT`` for the rule that every tenant has; None for those that people made."""
    version: int
    """Of what it opens: alerts and states of another version are not in force."""
    error: str | None
    """What it raised last; None if nothing since its last change."""
    error_at: datetime | None
    created_at: datetime
    updated_at: datetime
    """When it was last changed; sent back with a change, so that two people do not overwrite each other."""
