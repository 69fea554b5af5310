"""Listeners are told of each commit, and none of them stands between a device and its acknowledgement."""

from appliance.ingest.batch import Accepted
from appliance.ingest.listeners import Listeners
from appliance.ingest.summary import BatchSummary
from tests.support.pipeline import furnish, open_ingest, telemetry
from tests.support.postgres_server import Database

SUMMARY = BatchSummary(0.0, 0, 0, 0, 0, 0, {}, [], {})


def test_one_that_raises_does_not_keep_the_others_and_is_told_again() -> None:
    told: list[str] = []

    def broken(_: BatchSummary) -> None:
        told.append("broken")
        raise RuntimeError("a bug")

    listeners = Listeners([lambda _: told.append("first"), broken, lambda _: told.append("last")])
    listeners.notify(SUMMARY)
    listeners.notify(SUMMARY)
    assert told == ["first", "broken", "last"] * 2


async def test_batches_are_acknowledged_whatever_a_listener_does(database: Database) -> None:
    await furnish(database)

    def broken(_: BatchSummary) -> None:
        raise RuntimeError("a bug")

    async with open_ingest(database, listeners=[broken]) as stack:
        for number in range(3):
            assert await stack.send(telemetry("d-1", b'{"t":%d}' % number)) == [Accepted.STORED]
        assert [summary.stored for summary in stack.summaries] == [1, 1, 1]
