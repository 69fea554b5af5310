"""An integration: where notices are sent, and what is kept of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

ROUTES_CHANNEL = "appliance_routes"
"""The notifications of integrations and routes that changed: ``{"tenants": [...]}``."""


@dataclass(frozen=True, slots=True)
class Integration:
    """A row of ``integrations``. Its secrets are sealed here, base64 by field."""

    tenant_id: str
    integration_id: UUID
    name: str
    type: str
    """A key of :data:`appliance.delivery.senders.table.SENDERS`."""
    enabled: bool
    disabled_reason: str | None
    """Why the appliance disabled it (``gone``: it answered 410), None: a person did."""
    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    concurrency: int
    version: int
    created_at: datetime
    updated_at: datetime


def secret_purpose(tenant_id: str, integration_id: UUID, field: str) -> str:
    """Return the purpose under which a secret of an integration is sealed."""
    return f"integration:{tenant_id}:{integration_id}:{field}"
