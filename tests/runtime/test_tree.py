"""The task tree tells what runs, what it does and how it is, from the services themselves and from Trio's nurseries."""

from functools import partial
from typing import Self

import pytest
import trio
import trio.testing

from appliance.errors import ApplianceError
from appliance.runtime.activity import activity, in_words
from appliance.runtime.tree import ORDERLY_SECONDS, Report, Service, ServiceState, ServiceStatus, Tree

NOW = 1_780_000_000.0
"""A service time; the machine's own shows another."""


async def _quiet(*, task_status: trio.TaskStatus[None]) -> None:
    task_status.started()
    await trio.sleep_forever()


async def _with_workers(count: int, *, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(_works)
        nursery.start_soon(_rests)
        task_status.started()


async def _works() -> None:
    await trio.sleep_forever()


async def _rests() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_works)


def _only(tree: Tree) -> ServiceStatus:
    (status,) = tree.status(NOW)
    return status


async def _end(tree: Tree) -> None:
    await trio.testing.wait_all_tasks_blocked()
    await tree.drain()


async def test_a_service_without_a_word_of_its_own_is_found_where_it_waits() -> None:
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("quiet", _quiet)
        await trio.testing.wait_all_tasks_blocked()
        assert _only(tree).state is ServiceState.RUNNING
        assert _only(tree).doing.startswith("waits in ")
        assert _only(tree).rate is None
        await _end(tree)


async def test_tasks_below_a_service_come_from_its_nurseries_and_those_alike_are_counted() -> None:
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("workers", _with_workers, 7)
        await trio.testing.wait_all_tasks_blocked()
        found = {task.name: task for task in _only(tree).tasks}
        assert {name: task.alike for name, task in found.items()} == {"_works": 7, "_rests": 1}
        assert [task.name for task in found["_rests"].tasks] == ["_works"]
        await _end(tree)


async def test_what_ran_and_ended_is_gone_from_the_tree() -> None:
    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        service, _ = await tree.start("quiet", _quiet)
        await service.stop()
        assert tree.status(NOW) == []


async def test_a_chore_tells_of_its_rounds_its_rest_and_its_failures() -> None:
    wake, woken = trio.open_memory_channel[str | None](0)

    async def chore(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async for wrong in woken:
            if wrong is None:
                activity().did()
            else:
                activity().failed(OSError(f"{wrong}\nand more of it"))
            activity().rests(192)

    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("chore", chore)
        await wake.send("the disk is full")
        await trio.testing.wait_all_tasks_blocked()
        assert _only(tree).state is ServiceState.FAILING
        assert (_only(tree).last_error, _only(tree).doing) == ("the disk is full", "next round in 3 min 12 s")
        assert NOW - 60 < (_only(tree).last_error_at or 0) <= NOW
        assert NOW - 60 < _only(tree).since <= NOW, "in service time, whatever it was at the start"
        await wake.send(None)
        await trio.testing.wait_all_tasks_blocked()
        assert (_only(tree).state, _only(tree).last_error) == (ServiceState.RUNNING, "the disk is full"), (
            "it is remembered"
        )
        await _end(tree)


async def test_tasks_of_a_service_speak_for_it_and_others_for_nobody() -> None:
    async def speaks() -> None:
        activity().doing("the work of a child")

    async def parent(*, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speaks)
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("parent", parent)
        await tree.start("other", _quiet)
        await trio.testing.wait_all_tasks_blocked()
        activity().doing("said outside of every service")
        told, silent = tree.status(NOW)
        assert told.doing == "the work of a child"
        assert silent.doing.startswith("waits in ")
        await _end(tree)


async def test_a_report_gives_rate_queue_restarts_and_trouble() -> None:
    now = Report("passes on", count=0, waiting=1, room=100, restarts=2, kind="v1")

    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        await tree.start("busy", _quiet, report=lambda: now)
        tree.sample(100.0)
        now = Report("passes on", count=500, waiting=50, room=100, restarts=2, kind="v1")
        tree.sample(110.0)
        status = _only(tree)
        assert (status.rate, status.restarts, status.kind) == (50.0, 2, "v1")
        assert status.state is ServiceState.BEHIND, "its queue is half full"
        now = Report("passes on", count=500, trouble="the link is down")
        assert (_only(tree).state, _only(tree).doing) == (ServiceState.FAILING, "the link is down")
        await _end(tree)


async def test_rates_are_means_over_ten_seconds() -> None:
    count = 0.0
    service = Service("busy", lambda: Report(count=count))
    service.serving = True
    for second in range(60):
        count = 1000.0 if second < 30 else 1000.0 + 20 * (second - 30)
        service.sample(float(second))
    assert service.status(NOW).rate == 20.0


async def test_a_resource_that_is_held_open_is_asked_itself() -> None:
    class Resource:
        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        held = await tree.open("resource", Resource(), report=lambda resource: Report(type(resource).__name__))
        assert isinstance(held, Resource)
        assert _only(tree).doing == "Resource"
        await _end(tree)


async def test_a_service_that_ends_by_itself_still_ends_the_process() -> None:
    async def ends(event: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await event.wait()

    async def supervise() -> None:
        async with trio.open_nursery() as nursery:
            await Tree(nursery).start("ends", partial(ends, event))
            event.set()

    event = trio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        await supervise()
    assert caught.group_contains(ApplianceError, match="the service ends ended by itself")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (8.9, "8 s"), (60, "1 min"), (192, "3 min 12 s"), (3601, "1 h"), (1_051_200, "12 d 4 h"), (-5, "0 s")],
)
def test_spans_have_two_units_at_most(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


async def test_services_that_take_long_to_stop_are_told_all_at_once_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    del autojump_clock  # it jumps

    async def slow(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    async with trio.open_nursery() as nursery:
        tree = Tree(nursery)
        for number in range(10):
            await tree.start(f"slow {number}", slow)
        began = trio.current_time()
        await tree.drain()
        assert trio.current_time() - began <= ORDERLY_SECONDS + 2
        assert tree.status(NOW) == []
