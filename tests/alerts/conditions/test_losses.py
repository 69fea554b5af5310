"""What devices lose to their limits is counted with the batches that refuse it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from appliance.alerts.conditions.losses import MAX_DEVICES, LossObserver
from appliance.alerts.conditions.own import OwnConditions, OwnState
from appliance.alerts.conditions.watcher import ConditionWatcher
from appliance.clock import SystemClock
from appliance.db.trio_psycopg import Connection
from appliance.ingest.batch import MICROSECONDS, Batch, BatchOutcome, RefusedSubmission
from appliance.reading import Reason
from tests.support.pipeline import furnish, look, open_ingest, telemetry, until
from tests.support.postgres_server import Database
from tests.support.tenants import GRACE

LOST = "SELECT device_id, lost FROM message_losses ORDER BY 1"
SECOND = MICROSECONDS


async def lasts(_connection: Connection[Any], _now: datetime) -> None:
    """The disk lasts."""


def refused(devices: Iterable[str], reason: Reason = Reason.RATE_LIMITED) -> BatchOutcome:
    """The outcome of a batch that was refused."""
    messages = [RefusedSubmission(0, reason, "", "t", b"", "acme", device) for device in devices]
    return BatchOutcome(Batch([], 0), [], [], messages)


async def test_a_noisy_device_is_one_alert_and_its_neighbours_are_none(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database, burst=20, rate=0.001, further_observers=[LossObserver()]) as stack:
        await stack.send(telemetry("quiet", b'{"t": 1}'), telemetry("noisy", b'{"t": 1}'))
        for _ in range(3):
            await stack.send(*(telemetry("noisy", b'{"t": %d}' % number) for number in range(30)))
        await stack.send(*(telemetry("unregistered", b'{"t": 1}', "nobody") for _ in range(50)))
        await until(lambda: look(database, LOST) == [("noisy", 71)])
        assert look(database, "SELECT sum(cnt) FROM quarantine_counters_minute WHERE tenant_id = 'acme'") == [(71,)]
        clock = SystemClock()
        own = OwnConditions("one", "barn", lambda: OwnState({}), clock, own_broker=True)
        watcher = ConditionWatcher(stack.pool, clock, own, lasts, grace=GRACE, reopen_after=timedelta(days=1))
        for _ in range(2):
            await watcher.look()
    alerts = "SELECT alert_type, device_id, status, trigger_count FROM fleet_alert"
    assert look(database, alerts) == [("MESSAGES_LOST", "noisy", "OPEN", 71)]


async def test_the_first_loss_is_in_the_transaction_of_its_batch(database: Database) -> None:
    await furnish(database)
    async with open_ingest(database, burst=1, rate=0.001, further_observers=[LossObserver()]) as stack:
        await stack.send(telemetry("d", b'{"t": 1}'), telemetry("d", b'{"t": 2}'))
        assert look(database, LOST) == [("d", 1)]


def test_losses_are_written_once_a_second_and_none_is_forgotten() -> None:
    observer = LossObserver()
    written = []
    for at, count in ((0, 1), (0.2, 2), (0.9, 3), (1.1, 4), (1.2, 5)):
        effect = observer.prepare(refused(["d"] * count), round((1_000_000 + at) * SECOND))
        assert effect is not None
        effect.committed()
        written.append(dict(effect.written))
    assert written == [{("acme", "d"): 1}, {}, {}, {("acme", "d"): 2 + 3 + 4}, {}]
    assert not observer.due(round(1_000_001.3 * SECOND))
    assert observer.due(round(1_000_002.2 * SECOND))
    rest = observer.prepare(BatchOutcome(Batch([], 0), [], [], []), round(1_000_002.2 * SECOND))
    assert rest is not None
    assert rest.written == {("acme", "d"): 5}


def test_a_try_that_fails_counts_nothing() -> None:
    observer = LossObserver()
    for _ in range(2):
        effect = observer.prepare(refused(["d"]), 1_000_000 * SECOND)
        assert effect is not None
        assert effect.written == {("acme", "d"): 1}
        effect.given_back()
    assert not observer.due(2_000_000 * SECOND)


def test_other_refusals_are_no_losses() -> None:
    assert LossObserver().prepare(refused(["d"], Reason.INVALID_JSON), SECOND) is None


def test_what_waits_to_be_written_is_bounded() -> None:
    observer = LossObserver()
    for at in (0, 1):
        effect = observer.prepare(refused(f"d{number}" for number in range(MAX_DEVICES * 2)), 10 * SECOND + at)
        assert effect is not None
        effect.committed()
    assert observer.waiting == MAX_DEVICES
