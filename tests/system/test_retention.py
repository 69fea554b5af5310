"""A whole appliance whose retention is shortened: the days past it go, and it goes on."""

import subprocess
import time
from datetime import UTC, datetime, timedelta

from tests.support.accounting import look as balance
from tests.support.appliance_process import ApplianceProcess

PATIENCE = 60.0
PARTITIONS = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'telemetry'::regclass"


def test_with_a_shortened_retention_the_days_past_it_go(appliance: ApplianceProcess) -> None:
    appliance.start(APPLIANCE_RETENTION_DAYS="30")
    assert appliance.query(PARTITIONS) == [(33,)]
    publish(appliance)
    old = datetime.now(UTC).date() - timedelta(days=20)
    appliance.query(
        "WITH counted AS ("
        " INSERT INTO ingest_ledger (minute, instance, tenant_id, received, stored) VALUES (%s, 'x', 'acme', 2, 2)"
        ") INSERT INTO telemetry (tenant_id, device_id, kind, ts, digest, received_at, ts_adjusted, late, metrics)"
        " SELECT 'acme', 'd-1', 'telemetry', %s, n, %s, false, false, '{}' FROM generate_series(1, 2) AS n RETURNING 1",
        *[old] * 3,
    )
    appliance.stop()
    appliance.start(APPLIANCE_RETENTION_DAYS="1")
    deadline = time.monotonic() + PATIENCE
    while appliance.query(PARTITIONS)[0][0] > 5:  # yesterday, and perhaps the day before, until two days from now
        assert time.monotonic() < deadline, appliance.tail()
        time.sleep(0.1)
    assert appliance.query("SELECT sum(partition_dropped)::int FROM ingest_ledger") == [(2,)]
    balance(appliance.conninfo())
    appliance.stop()
    appliance.start(APPLIANCE_RETENTION_DAYS="1")
    assert appliance.query(PARTITIONS)[0][0] <= 5, "nothing was made only to be dropped"


def publish(appliance: ApplianceProcess) -> None:
    """Send a reading, and return once the states are written: what was received before is queued no more."""
    claim = appliance.tenant()
    address = ["-h", "127.0.0.1", "-p", str(appliance.mqtt_port), "-u", claim["username"], "-P", claim["password"]]
    topic = "tenant/fleet/device/one/telemetry"
    subprocess.run(["mosquitto_pub", *address, "-q", "1", "-t", topic, "-m", '{"t":1}'], check=True)
    deadline = time.monotonic() + PATIENCE
    while not appliance.query("SELECT 1 FROM ingest_instances WHERE state_written_at IS NOT NULL"):
        assert time.monotonic() < deadline, appliance.tail()
        time.sleep(0.1)
