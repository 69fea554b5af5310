"""What a killed appliance left is found by what it works on, and nothing else is touched."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from appliance.children import orphans
from appliance.children.leftovers import leftovers, stop_leftovers
from appliance.children.orphans import reap, zombie_children

SLEEPER = frozenset({"sleep"})


Start = Callable[[list[str], Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs that are gone after the test."""
    with contextlib.ExitStack() as stack:

        def one(argv: list[str], cwd: Path) -> "subprocess.Popen[bytes]":
            process = stack.enter_context(subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            # Popen returns as soon as the new program holds none of our files: a moment before it has its arguments.
            command = Path(f"/proc/{process.pid}/cmdline")
            deadline = time.monotonic() + 30
            while argv[-1].encode() not in command.read_bytes():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            return process

        yield one


async def test_a_program_in_our_folder_is_stopped_and_others_are_not(folder: Path, start: Start) -> None:
    ours = start(["sleep", "60"], folder)
    elsewhere = start(["sleep", "60"], Path("/"))
    somebody = start(["tail", "-f", "/dev/null"], folder)
    assert [process.pid for process in leftovers(folder, SLEEPER)] == [ours.pid]
    assert await stop_leftovers(folder, SLEEPER, polite=signal.SIGTERM) == 1
    assert ours.wait(5) == -signal.SIGTERM
    assert (elsewhere.poll(), somebody.poll()) == (None, None)
    assert await stop_leftovers(folder, SLEEPER, polite=signal.SIGTERM) == 0


async def test_a_program_is_known_by_its_argument_too(folder: Path, start: Start) -> None:
    (folder / "conf").touch()
    process = start(["tail", "-f", str(folder / "conf")], Path("/"))
    assert leftovers(folder / "con", frozenset({"tail"})) == []
    assert [found.pid for found in leftovers(folder / "conf", frozenset({"tail"}))] == [process.pid]


async def test_a_deaf_one_is_killed(folder: Path, start: Start) -> None:
    process = start(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], folder)
    assert process.stdout is not None
    process.stdout.readline()
    await stop_leftovers(folder, frozenset({"sh"}), polite=signal.SIGTERM, seconds=0.2)
    assert process.wait(30) == -signal.SIGKILL


def test_an_orphan_is_reaped() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    deadline = time.monotonic() + 30
    while pid not in zombie_children():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    reap(frozenset({pid, 2**22 - 1}))
    assert pid not in zombie_children()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


async def test_an_orphan_is_reaped_in_the_second_round_and_not_in_the_first(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaped: list[tuple[float, frozenset[int]]] = []
    rounds = [frozenset({7}), frozenset({7, 8}), frozenset({8})]
    monkeypatch.setattr(orphans, "zombie_children", lambda: rounds.pop(0))
    monkeypatch.setattr(orphans, "reap", lambda pids: reaped.append((autojump_clock.current_time(), pids)))
    with trio.move_on_after(2.5 * orphans.PERIOD_SECONDS):
        await orphans.reap_orphans()
    began = reaped[0][0]
    assert [(round(at - began), sorted(pids)) for at, pids in reaped] == [(0, []), (5, [7]), (10, [8])]
