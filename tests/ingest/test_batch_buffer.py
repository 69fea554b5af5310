"""What is admitted while a commit is under way becomes the next batch: in order, bounded, with one honest time."""

import trio
import trio.testing

from appliance.ingest.batch import Batch, BatchOutcome, Settlement, Submission
from appliance.ingest.batch_buffer import RECEIPT_SPAN_SECONDS, BatchBuffer, Work
from tests.support.pipeline import Message

NOW = 1_800_000_000_000_000
SPAN = round(RECEIPT_SPAN_SECONDS * 1_000_000)


def work(first: int, count: int, received_at: int = NOW) -> Work:
    """An admitted submission of ``count`` messages from index ``first``, the odd ones of QoS 0."""

    async def settle(_: Settlement) -> None:
        pass

    messages = [Message("t", b"%d" % number) for number in range(first, first + count)]
    qos0 = frozenset(number for number in range(first, first + count) if number % 2)
    batch = Batch(messages, received_at, qos0=qos0, first=first)
    return Work(batch, [Submission(messages, received_at / 1e6, settle)], first)


async def taken(buffer: BatchBuffer) -> Work:
    """The next batch, which must be there."""
    with trio.fail_after(10):
        found = await buffer.take()
    assert found is not None
    return found


async def test_all_that_gathered_is_one_batch_with_the_indexes_and_the_time_of_its_parts() -> None:
    buffer = BatchBuffer(10)
    parts = [work(0, 3), work(3, 2, NOW + SPAN - 1), work(5, 1, NOW + 5)]
    for part in parts:
        buffer.add(part)
    found = await taken(buffer)
    assert [message.payload for message in found.batch.messages] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert (found.batch.first, found.batch.received_at, found.taken_at) == (0, NOW, 0)
    assert found.batch.qos0 == {1, 3, 5}
    assert [len(submission.messages) for submission in found.submissions] == [3, 2, 1]
    outcome = BatchOutcome(found.batch, (), (), ())
    ends = [(0, 3), (3, 5), (5, 6)]
    assert [Settlement(outcome, first, last).more_follow for first, last in ends] == [True, True, False]


async def test_what_came_in_later_is_a_batch_of_its_own() -> None:
    buffer = BatchBuffer(10)
    buffer.add(work(0, 1))
    buffer.add(work(1, 1, NOW + SPAN))
    assert [(await taken(buffer)).batch.received_at for _ in range(2)] == [NOW, NOW + SPAN]


async def test_no_more_gathers_than_a_batch_holds(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    buffer = BatchBuffer(4)
    buffer.add(work(0, 3))
    with trio.fail_after(10):
        await buffer.room(1)
    with trio.move_on_after(60) as waiting:
        await buffer.room(2)
    assert waiting.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffer.room, 2)
        await taken(buffer)


async def test_a_submission_larger_than_a_batch_is_let_in_alone() -> None:
    buffer = BatchBuffer(4)
    with trio.fail_after(10):
        await buffer.room(9)


async def test_after_the_close_what_is_left_is_handed_out_and_then_nothing() -> None:
    buffer = BatchBuffer(4)
    buffer.add(work(0, 1))
    buffer.close()
    assert (await taken(buffer)).batch.first == 0
    assert await buffer.take() is None
