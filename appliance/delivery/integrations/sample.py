"""The sample that a person sends to try an integration: a notice like any other, marked as a test."""

from datetime import datetime
from uuid import uuid4

from appliance.delivery.notices.notice import AlertFacts, Notice
from appliance.delivery.outbox.job import JobEvent
from appliance.severity import Severity


def sample(tenant_id: str, appliance: str, url: str, now: datetime) -> Notice:
    """Return a sample; ``url`` is the address of the dashboard, without a slash at its end."""
    alert = AlertFacts(
        alert_id=0,
        tenant_id=tenant_id,
        alert_type="SYSTEM",
        severity=Severity.INFO,
        status="OPEN",
        summary="Test of this integration: no device is affected",
        details={},
        trigger_count=1,
        created_at=now,
        started_at=now,
        last_triggered_at=now,
        past=False,
        acknowledged_at=None,
        acknowledged_by=None,
        closed_at=None,
        closed_by=None,
        close_reason=None,
        device_id=None,
        device_name=None,
        place=None,
        site_id=None,
        site_name=None,
        zone="UTC",
        rule_id=None,
        rule_name=None,
        metric_label=None,
        unit=None,
        decimals=None,
    )
    return Notice(uuid4(), JobEvent.OPEN, 1, appliance, alert, f"{url}/alerts", now, test=True)
