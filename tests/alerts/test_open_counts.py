"""Open alerts by severity in /metrics."""

import time
from datetime import UTC, datetime, timedelta

from appliance.alerts.maintenance.book import MaintenanceBook
from appliance.alerts.open_counts import count_once
from appliance.clock import SystemClock
from appliance.db.pool import open_pool
from appliance.db.roles import INGEST
from appliance.metrics import Metrics
from tests.support.alerts import add_alert, add_alerts
from tests.support.postgres_server import Database


async def test_alerts_that_wait_for_somebody_are_counted_by_severity_alone(database: Database) -> None:
    tomorrow = datetime.fromtimestamp(time.time(), UTC) + timedelta(days=1)
    add_alerts(database, 2, severity="critical")
    add_alert(database, "rival", severity="critical")
    add_alert(database, severity="low", status="ACKNOWLEDGED")
    add_alert(database, severity="low", status="CLOSED")
    add_alert(database, severity="low", silenced_until=tomorrow)
    add_alert(database, severity="low", inhibited_by=1)
    metrics = Metrics()
    async with open_pool(database.conninfo(INGEST), name="counts", min_size=1, max_size=1) as pool:
        await count_once(pool, SystemClock(), metrics, MaintenanceBook(pool, SystemClock()))
        lines = exposed(metrics)
        assert lines == {
            'appliance_open_alerts{severity="critical"} 3.0',
            'appliance_open_alerts{severity="high"} 0.0',
            'appliance_open_alerts{severity="medium"} 0.0',
            'appliance_open_alerts{severity="low"} 0.0',
            'appliance_open_alerts{severity="info"} 0.0',
        }
        add_alert(database, severity="low")
        await count_once(pool, SystemClock(), metrics, MaintenanceBook(pool, SystemClock()))
        assert 'appliance_open_alerts{severity="low"} 1.0' in exposed(metrics)


def exposed(metrics: Metrics) -> set[str]:
    text = metrics.exposition().decode()
    return {line for line in text.splitlines() if line.startswith("appliance_open_alerts")}
