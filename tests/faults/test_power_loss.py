"""Power that goes: what was acknowledged is on the disk, whatever else was only in memory.

Everything is stopped in its tracks while messages come in over HTTP, whose answer means committed. The folder is
copied, and of the write-ahead log everything is wiped that Postgres had not synced at that moment, as a disk that loses
its cache would. A server that starts on that copy has to hold every message that was answered.
"""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import trio

from tests.support import soak
from tests.support.appliance_process import ApplianceProcess
from tests.support.postgres_server import USER, PostgresServer

ROUNDS = soak.times(1)
SENDERS = 6
SECONDS = 1.0
"""Seconds of messages until the power goes, and more where fewer than ENOUGH were answered by then."""
ENOUGH = 50
ANSWER_SECONDS = 60.0
"""Seconds within which a busy machine has answered them."""
FREEZE_SECONDS = 20.0
LATE_WRITERS = (b"walwriter", b"checkpointer", b"background writer")
"""Processes of Postgres that write to the disk what nobody waits for: stopped from the beginning, so that nothing is
saved by chance."""


def freeze(*pids: int) -> None:
    """Stop processes in their tracks, and return when they stand. One that has ended meanwhile stands as well."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_SECONDS
    for pid in pids:
        while not stands(pid):
            assert time.monotonic() < deadline, f"{pid} goes on"
            time.sleep(0.002)


def stands(pid: int) -> bool:
    """Return whether a process is stopped, or has ended: its parent, which is stopped, does not notice that."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    return any(f"State:\t{state}" in status for state in "TZX")


def processes_of(postmaster: int) -> list[int]:
    """Return the pids of the server and all of its processes."""
    return [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]


def wipe_unsynced(cluster: Path, synced: int, segment: int) -> int:
    """Zero the log from the byte position ``synced`` on, in files of ``segment`` bytes; return what was wiped."""
    lost = 0
    for path in (cluster / "pg_wal").glob("[0-9A-F]" * 24):
        first = (int(path.name[8:16], 16) << 32) + int(path.name[16:], 16) * segment
        keep = min(max(synced - first, 0), segment)
        lost += len(path.read_bytes()[keep:].rstrip(b"\0"))
        with path.open("r+b") as file:
            file.truncate(keep)
            file.truncate(segment)
    return lost


async def send(url: str, token: str, sender: int, answered: set[int]) -> None:
    """Send numbered messages one after the other for ever; those that were answered are in ``answered``."""
    numbers = iter(range(sender, 10**9, SENDERS))
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
        for number in numbers:
            answer = await http.post(url, json={"ts": BASE + number, "seq": number, "filler": "x" * 100})
            assert answer.status_code < 300, answer.text
            answered.add(number)


BASE = int(time.time() - 3600) * 1000


async def answered_until_the_power_goes(appliance: ApplianceProcess, token: str) -> set[int]:
    """Return the messages that were answered when the appliance stands still."""
    assert appliance.process is not None
    url, answered = f"{appliance.run['web_url']}/ingest/tenant/fleet/device/one/telemetry", set[int]()
    async with trio.open_nursery() as nursery:
        for sender in range(SENDERS):
            nursery.start_soon(send, url, token, sender, answered)
        await trio.sleep(SECONDS)
        with trio.fail_after(ANSWER_SECONDS):
            while len(answered) < ENOUGH:
                await trio.sleep(0.01)
        await trio.to_thread.run_sync(freeze, appliance.process.pid)
        await trio.sleep(0.2)  # what was answered before is read
        nursery.cancel_scope.cancel()
    return answered


def numbers_in(cluster: Path, folder: Path) -> set[int]:
    """Start a server on a cluster, and return the messages that it holds."""
    (folder / "hba").write_text("local all all trust\n")
    server = PostgresServer({"hba_file": str(folder / "hba")})
    try:
        cluster.rename(server.directory / "data")
        server.start_on_data()
        with psycopg.connect(server.conninfo("appliance")) as connection:
            return {number for (number,) in connection.execute("SELECT seq FROM telemetry").fetchall()}
    finally:
        server.close()


async def test_what_was_acknowledged_is_there_after_a_power_loss(appliance: ApplianceProcess) -> None:
    await trio.to_thread.run_sync(appliance.start)
    await trio.to_thread.run_sync(appliance.tenant)
    made = await trio.to_thread.run_sync(appliance.command, "device", "add", "fleet", "one")
    everything: set[int] = set()
    cluster = appliance.data_dir / "postgres"
    assert appliance.process is not None
    for turn in range(ROUNDS):
        postmaster = int((cluster / "postmaster.pid").read_text().split()[0])
        late = [
            pid
            for pid in processes_of(postmaster)
            if any(name in Path(f"/proc/{pid}/cmdline").read_bytes() for name in LATE_WRITERS)
        ]
        assert len(late) == len(LATE_WRITERS)
        freeze(*late)
        everything |= await answered_until_the_power_goes(appliance, made["token"])
        statement = (
            "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn, setting::bigint FROM pg_settings WHERE name = %s"
        )
        [(synced, segment)] = await trio.to_thread.run_sync(appliance.query, statement, "wal_segment_size")
        freeze(*processes_of(postmaster))
        copy = appliance.folder / f"copy-{turn}"
        shutil.copytree(cluster, copy, symlinks=True)
        for pid in (*processes_of(postmaster), appliance.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        (copy / "postmaster.pid").unlink()
        wipe_unsynced(copy, int(synced), int(segment))
        if os.geteuid() == 0:
            for path in (copy, *copy.rglob("*")):
                shutil.chown(path, USER, USER)
        held = await trio.to_thread.run_sync(numbers_in, copy, appliance.folder)
        assert everything - held == set()
