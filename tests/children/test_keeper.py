"""A child that dies comes back after growing delays; one that keeps dying is given up with its last words."""

import errno
import os
import signal
import time

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from appliance.children import keeper as keepers
from appliance.children.keeper import ChildState, Keeper, Patience
from appliance.children.polling import until
from appliance.children.process import Child, Command
from appliance.clock import SystemClock
from appliance.errors import ApplianceError
from tests.support.busy import within


class Script:
    """A program that is a shell script; ready when it says so."""

    name = "Script"

    def __init__(self, script: str) -> None:
        self.script = script
        self.starts: list[float] = []
        self.ends: list[int | None] = []
        self.answers = 0
        self.hangs = False
        self._said_ready = trio.Event()

    async def prepare(self) -> Command:
        self.starts.append(time.monotonic())
        self.hangs = False
        self._said_ready = trio.Event()
        return Command(name="script", argv=("/bin/sh", "-c", self.script))

    async def until_ready(self, child: Child) -> None:
        del child
        await self._said_ready.wait()

    async def answer(self, child: Child) -> None:
        if self.hangs:
            os.kill(child.pid, signal.SIGSTOP)
            await trio.sleep_forever()
        self.answers += 1

    def heard(self, line: str) -> str | None:
        if line == "ready":
            self._said_ready.set()
        return line

    async def ended(self, child: Child) -> None:
        self.ends.append(child.returncode)


class Ending(Script):
    """Takes down what is said of the child while it ends."""

    keeper: Keeper

    def __init__(self, script: str) -> None:
        super().__init__(script)
        self.said: list[ChildState] = []

    async def ended(self, child: Child) -> None:
        await super().ended(child)
        self.said.append(self.keeper.status.state)


SERVES = "echo ready; exec sleep 60"


def nothing() -> None:
    """Nobody is told."""


async def test_five_deaths_within_a_minute_end_it_with_its_last_words() -> None:
    program = Script("echo 'cannot find my data' >&2; exit 7")
    keeper = Keeper(program, SystemClock())
    with pytest.raises(ApplianceError) as caught:
        await keeper.run(nothing)
    message = str(caught.value)
    assert message.startswith("Script died 5 times within 60 s (exit code 7)")
    assert "cannot find my data" in message
    assert program.ends == [7] * 5
    gaps = [later - earlier for earlier, later in zip(program.starts, program.starts[1:], strict=False)]
    assert all(gap >= floor for gap, floor in zip(gaps, (0.08, 0.16, 0.32, 0.64), strict=True)), gaps
    assert keeper.status.state is ChildState.STOPPED
    assert keeper.status.last_error == "exit code 7: cannot find my data"


async def test_deaths_that_lie_apart_are_borne() -> None:
    keeper = Keeper(Script("exit 1"), SystemClock(), Patience(deaths=2, window=0.001))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(40):
            await until(lambda: keeper.status.restarts >= 2, period=0.005)
        nursery.cancel_scope.cancel()


async def test_one_that_never_serves_counts_as_dead() -> None:
    keeper = Keeper(Script("exec sleep 60"), SystemClock(), Patience(deaths=2, start=0.1))
    with pytest.raises(ApplianceError, match=r"not ready after 0 s"):
        await keeper.run(nothing)


async def test_readiness_and_status_follow_a_death() -> None:
    program = Script(SERVES)
    keeper = Keeper(program, SystemClock())
    async with trio.open_nursery() as nursery:
        announced: list[bool] = []
        nursery.start_soon(keeper.run, lambda: announced.append(True))
        with trio.fail_after(40):
            await keeper.ready.wait()
        assert keeper.status.state.value == "ready"
        assert (keeper.status.restarts, keeper.status.last_error) == (0, None)
        child = keeper.child
        assert child is not None
        first = keeper.status.pid
        child.signal(signal.SIGKILL)
        with trio.fail_after(40):
            await child.ended.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not keeper.ready.is_set()
            assert keeper.status.state.value == "waiting"
            await keeper.ready.wait()
        assert keeper.status.pid != first
        assert (keeper.status.restarts, keeper.status.last_error) == (1, "SIGKILL: ready")
        assert announced == [True]
        nursery.cancel_scope.cancel()
    assert program.ends == [-9, -15]
    assert keeper.status.pid is None


async def test_a_restart_on_purpose_is_no_death() -> None:
    program = Ending(SERVES)
    keeper = program.keeper = Keeper(program, SystemClock(), Patience(deaths=1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(40):
            await keeper.ready.wait()
            first = keeper.status.pid
            await keeper.restart()
        assert program.said == [ChildState.STARTING], "and not that it is ready"
        assert keeper.ready.is_set()
        assert keeper.status.pid != first
        assert keeper.status.restarts == 0
        nursery.cancel_scope.cancel()
    assert program.ends == [-15, -15]


class Full(Script):
    async def prepare(self) -> Command:
        self.starts.append(time.monotonic())
        raise OSError(errno.ENOSPC, "No space left on device")


class Away(Script):
    async def prepare(self) -> Command:
        raise OSError(errno.EACCES, "Permission denied")


async def test_a_folder_that_is_taken_away_counts_as_a_death() -> None:
    with pytest.raises(ApplianceError, match=r"died 2 times .*cannot be prepared .*Permission denied"):
        await Keeper(Away(""), SystemClock(), Patience(deaths=2)).run(nothing)


@pytest.mark.parametrize(
    ("program", "full"),
    [
        (Full(""), None),
        (Script("echo 'PANIC:  could not write to file: No space left on device'; exit 1"), None),
        (Script("exit 1"), "the disk is full"),
    ],
    ids=["prepared", "said", "known"],
)
async def test_deaths_on_a_full_disk_are_waited_out_and_said(
    program: Script, full: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "FULL_DISK_SECONDS", 0.01)
    keeper = Keeper(program, SystemClock(), Patience(deaths=2), lambda: full)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run, nothing)
            with trio.fail_after(40):
                await until(lambda: keeper.status.restarts >= 6 and keeper.child is None, period=0.001)
            assert keeper.status.state is ChildState.WAITING
            nursery.cancel_scope.cancel()
    said = [entry for entry in logs if entry["event"] == "child died, the disk is full"]
    assert len(said) >= 6
    assert {entry["starts_again_in"] for entry in said} == {0.01}


async def test_what_one_start_said_of_the_disk_does_not_excuse_the_next() -> None:
    class Once(Script):
        async def prepare(self) -> Command:
            command = await super().prepare()
            self.script = "exit 1"
            return command

    keeper = Keeper(Once("echo 'No space left on device'; exit 1"), SystemClock(), Patience(deaths=2))
    with pytest.raises(ApplianceError, match="died 2 times"):
        await keeper.run(nothing)
    assert keeper.status.restarts == 2


async def test_what_a_person_must_mend_comes_out_as_it_is() -> None:
    class Broken(Script):
        async def prepare(self) -> Command:
            raise ApplianceError("port 1883 is taken")

    with pytest.raises(ApplianceError, match="port 1883 is taken"):
        await Keeper(Broken(""), SystemClock()).run(nothing)


async def test_one_that_hangs_is_said_to_be_silent_and_then_killed_and_started_again() -> None:
    program = Script(SERVES)
    keeper = Keeper(program, SystemClock(), Patience(ask=0.01, slow=0.1, hang=0.6))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(10):
            await until(lambda: program.answers >= 3, period=0.005)
            assert not keeper.silent
            program.hangs = True
            await until(lambda: keeper.silent, period=0.005)
            assert (program.ends, keeper.ready.is_set()) == ([], True)
            await until(lambda: program.ends == [-signal.SIGKILL] and keeper.ready.is_set(), period=0.005)
            assert not keeper.silent
            assert keeper.status.last_error == "SIGKILL: no answer for 1 s"
            assert keeper.status.restarts == 1
        nursery.cancel_scope.cancel()


async def test_one_that_does_not_take_the_question_is_asked_again() -> None:
    program = Script(SERVES)
    refusals = iter([OSError(errno.EAGAIN, "full"), ConnectionResetError()])

    async def refuse(child: Child) -> None:
        del child
        for refusal in refusals:
            raise refusal
        program.answers += 1

    program.answer = refuse  # type: ignore[method-assign]
    keeper = Keeper(program, SystemClock(), Patience(ask=0.01, hang=9.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(10):
            await until(lambda: program.answers >= 2, period=0.005)
        assert program.ends == []
        nursery.cancel_scope.cancel()


async def delays(patience: Patience) -> list[float]:
    """Kill a child six times as soon as it serves, and return the seconds between its starts."""
    program = Script(SERVES)
    keeper = Keeper(program, SystemClock(), patience)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(20):
            for number in range(6):
                await until(keeper.ready.is_set, period=0.002)
                assert keeper.child is not None
                keeper.child.signal(signal.SIGKILL)
                await until(lambda: len(program.ends) > number, period=0.002)  # noqa: B023 - called in this round
        nursery.cancel_scope.cancel()
    return [later - earlier for earlier, later in zip(program.starts, program.starts[1:], strict=False)]


async def test_the_delay_before_a_restart_grows_unless_the_child_has_served_for_a_while() -> None:
    assert max(await delays(Patience(deaths=100, served=60.0))) > 1.2
    assert sum(await delays(Patience(deaths=100, served=0.0))) < 3 * within(0.6)


async def test_without_descriptors_of_our_own_nothing_is_said_of_the_child() -> None:
    program, asked = Script(SERVES), 0

    async def fail(child: Child) -> None:
        nonlocal asked
        del child
        asked += 1
        raise OSError(errno.EMFILE, "Too many open files")

    program.answer = fail  # type: ignore[method-assign]
    keeper = Keeper(program, SystemClock(), Patience(ask=0.01, slow=0.05, hang=0.1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, nothing)
        with trio.fail_after(10):
            await until(lambda: asked > 40, period=0.005)
        assert (program.ends, keeper.silent) == ([], False)
        nursery.cancel_scope.cancel()
