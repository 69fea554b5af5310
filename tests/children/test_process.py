"""A child is started apart from us, read to its last line, and stopped politely, then firmly."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from appliance.children import process as process_module
from appliance.children.account import Account, child_account
from appliance.children.polling import until
from appliance.children.process import Child, Command, spawn
from tests.support.busy import within

SHELL = "/bin/sh"


@contextlib.asynccontextmanager
async def running(command: Command) -> AsyncIterator[tuple[Child, list[str]]]:
    lines: list[str] = []
    async with trio.open_nursery() as nursery:
        child = spawn(command, lines.append)
        nursery.start_soon(child.reap)
        try:
            yield child, lines
        finally:
            await child.stop()


def shell(script: str, **options: object) -> Command:
    return Command(name="shell", argv=(SHELL, "-c", script), **options)  # type: ignore[arg-type]


async def said(lines: list[str], line: str) -> None:
    with trio.fail_after(60):
        await until(lambda: line in lines, period=0.005)


async def test_its_last_words_are_read_before_it_counts_as_ended() -> None:
    async with running(shell("echo one; echo two >&2; printf three; exit 3")) as (child, lines):
        await child.ended.wait()
        assert lines == ["one", "two", "three"]
        assert child.returncode == 3
        assert child.describe_end() == "exit code 3"


async def test_it_is_asked_with_its_own_signal() -> None:
    command = shell("trap 'echo bye; exit 0' INT; echo up; while :; do sleep 0.02; done", stop_signal=signal.SIGINT)
    async with running(command) as (child, lines):
        await said(lines, "up")
        await child.stop()
        assert (child.returncode, lines) == (0, ["up", "bye"])


async def test_who_does_not_listen_is_killed_within_the_deadline() -> None:
    async with running(shell("trap '' TERM; echo up; sleep 60", stop_seconds=0.2)) as (child, lines):
        await said(lines, "up")
        began = time.monotonic()
        with trio.CancelScope() as scope:
            scope.cancel()  # a cancelled caller must not leave a child behind
            await child.stop()
        assert time.monotonic() - began < within(2)
        assert child.describe_end() == "SIGKILL"


async def test_it_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_DATABASE_URL", "canary")
    async with running(shell("env; echo end")) as (child, lines):
        await child.ended.wait()
    assert "canary" not in "".join(lines)
    assert {"LANG=C.UTF-8", "TZ=UTC", "end"} <= set(lines)


async def test_it_has_a_session_of_its_own_and_no_way_to_more_rights() -> None:
    async with running(shell("cat /proc/self/stat; grep NoNewPrivs /proc/self/status")) as (child, lines):
        await child.ended.wait()
        assert int(lines[0].rpartition(")")[2].split()[3]) == child.pid
    assert lines[1].split() == ["NoNewPrivs:", "1"]


async def test_started_by_root_it_is_somebody_else_with_no_group_of_ours() -> None:
    account = child_account("postgres", package="postgresql")
    if os.geteuid() != 0:
        assert account is None  # only root can be somebody else
        return
    assert account is not None
    async with running(shell("id -u; id -G", account=account)) as (child, lines):
        await child.ended.wait()
    assert lines[0] == str(account.uid)
    assert set(lines[1].split()) == {str(group) for group in account.groups}
    assert "0" not in lines[1].split()


async def test_only_the_main_thread_may_start_one() -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await trio.to_thread.run_sync(spawn, shell("true"), print)


async def test_the_folder_in_the_way_is_named(folder: Path) -> None:
    if os.geteuid() != 0:
        assert child_account("postgres", package="postgresql") is None
        return
    closed = folder / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    account = Account.named("postgres", package="postgresql")
    with pytest.raises(Exception, match=f"cannot enter {closed}, .*chmod o\\+x {closed}"):
        await account.require_access(closed / "data")
    closed.chmod(0o711)
    (closed / "data").chmod(0o711)
    await account.require_access(closed / "data")


async def test_who_owes_an_answer_and_gives_none_is_frozen_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "ANSWER_SECONDS", 0.2)
    command = shell("trap 'echo stopping; sleep 0.5; exit 0' TERM; echo up; while :; do sleep 0.02; done",
                    stop_answer="stopping")  # fmt: skip
    async with running(command) as (child, lines):
        await said(lines, "up")
        await child.stop()
        assert child.returncode == 0, "it has answered, and may take its time"
    async with running(command) as (child, lines):
        await said(lines, "up")
        child.signal(signal.SIGSTOP)
        began = time.monotonic()
        await child.stop()
        assert time.monotonic() - began < within(2)
        assert child.describe_end() == "SIGKILL"


async def test_nobody_who_reads_its_output_holds_it_up(tmp_path: Path) -> None:
    marker = tmp_path / "done"
    script = f"i=0; while [ $i -lt 20000 ]; do echo a line of some length $i; i=$((i+1)); done; : > {marker}"
    child = spawn(shell(script), print)
    with trio.fail_after(30):
        await until(marker.exists, period=0.02)  # its pipe holds 64 KiB, and nothing was read of it
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.reap)
        await child.ended.wait()
    assert child.returncode == 0
