"""One child process: it never outlives us for long, is read line by line, and is asked to stop before it is killed.

PR_SET_PDEATHSIG makes the kernel signal the child when its parent ends. It belongs to the *thread* that forked, so
children are started by the main thread only (``trio.lowlevel.open_process`` forks in a worker thread that idles out
after ten seconds), and it is cleared by a change of user, so it is set after that. util-linux's ``setpriv`` does this
between fork and exec: no Python runs in the forked process, which keeps starting safe beside worker threads. A
parent that is killed in the millisecond before it leaves a child for the next start to find (see ``leftovers``).
"""

import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from appliance.children.account import Account
from appliance.children.lines import LineSplitter
from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

READ_BYTES = 65536
DRAIN_SECONDS = 0.5  # a dead child's grandchildren may hold its output open; its own last lines are there at once
ANSWER_SECONDS = 2.0  # a program that is alive answers a signal in milliseconds, on a busy machine in a second
KILL_SECONDS = 5.0  # between SIGKILL and giving up on a process stuck in the kernel
PREFERRED_OOM_SCORE = -500  # needs CAP_SYS_RESOURCE
OWN_OOM_SCORE = 200  # else the appliance offers itself first

# A child sees nothing of our environment, which may hold secrets; messages are in English and times in UTC.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, its user, and how it is asked to stop."""

    name: str
    argv: tuple[str, ...]
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    stop_answer: str | None = None  # part of the line it prints at once when it stops; None: it prints none
    death_signal: signal.Signals | None = None  # sent by the kernel when we die; None: the stop signal
    open_files: int | None = None  # wanted RLIMIT_NOFILE, up to what the system permits
    environment: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    folder: Path = Path("/")  # that it works in


class Child:
    """A running process, started by :func:`spawn`; the caller must run :meth:`reap` until it has ended."""

    def __init__(
        self, command: Command, process: subprocess.Popen[bytes], output: int, on_line: Callable[[str], None]
    ) -> None:
        """``output`` is the file descriptor that its output is read from; it is closed here."""
        self.command = command
        self._began = time.monotonic()
        self.ended = trio.Event()
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._output = trio.lowlevel.FdStream(output)
        self._on_line = on_line
        self._answered = trio.Event()
        self._reaping = trio.CancelScope(shield=True)

    @property
    def pid(self) -> int:
        """The process id; kept after the end, for messages."""
        return self._process.pid

    @property
    def age(self) -> float:
        """The seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def returncode(self) -> int | None:
        """The exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._process.poll()

    def describe_end(self) -> str:
        """Return how it ended, for people: ``exit code 1`` or ``SIGKILL``."""
        code = self.returncode
        if code is None:
            return "does not end"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    async def reap(self) -> None:
        """Read its output and reap it. Return after it has ended, even when cancelled before."""
        try:
            with self._reaping:
                async with trio.open_nursery() as nursery:
                    read = trio.Event()
                    nursery.start_soon(self._read_output, read)
                    await trio.lowlevel.wait_readable(self._pidfd)
                    with trio.move_on_after(DRAIN_SECONDS):
                        await read.wait()
                    nursery.cancel_scope.cancel()
        finally:
            if self._process.poll() is None:
                self._process.kill()  # a callback raised, or the kernel holds on to it
            os.close(self._pidfd)
            self.ended.set()
            self._answered.set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; do nothing if it has ended."""
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Ask it to stop, and kill it when it has not ended within its ``stop_seconds``.

        Shielded from cancellation and bounded by ``stop_seconds + KILL_SECONDS``: a process that survives SIGKILL
        for that long hangs in the kernel, and waiting would not help it. One that has a ``stop_answer`` and does not
        give it within ANSWER_SECONDS is frozen, and is not waited for.
        """
        with trio.CancelScope(shield=True):
            self.signal(self.command.stop_signal)
            if self.command.stop_answer is None or await self._answers():
                with trio.move_on_after(self.command.stop_seconds):
                    await self.ended.wait()
            if self.ended.is_set():
                return
            log.warning("child does not stop, killing it", child=self.command.name, pid=self.pid)
            self.signal(signal.SIGKILL)
            with trio.move_on_after(KILL_SECONDS):
                await self.ended.wait()
            if not self.ended.is_set():
                log.error("child survives SIGKILL, giving it up", child=self.command.name, pid=self.pid)
                self._reaping.cancel()

    async def _answers(self) -> bool:
        """Return whether it announces within ANSWER_SECONDS that it stops, or has ended."""
        with trio.move_on_after(ANSWER_SECONDS):
            await self._answered.wait()
        return self._answered.is_set()

    def _hear(self, line: str) -> None:
        if self.command.stop_answer is not None and self.command.stop_answer in line:
            self._answered.set()
        self._on_line(line)

    async def _read_output(self, finished: trio.Event) -> None:
        splitter = LineSplitter()
        async with self._output:
            while chunk := await self._output.receive_some(READ_BYTES):
                for line in splitter.feed(chunk):
                    self._hear(line)
            for line in splitter.end():
                self._hear(line)
        finished.set()


def spawn(command: Command, on_line: Callable[[str], None]) -> Child:
    """Start ``command`` as its user, in a session of its own (Ctrl+C must not reach it), to be ended with us.

    ``on_line`` gets every line of its output, already safe to log. Call from the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are started by the main thread: PR_SET_PDEATHSIG ends with the thread that forks")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ApplianceError("setpriv was not found: `apt-get install util-linux`")
    if command.open_files is not None:
        _allow_open_files(command.open_files)
    death = command.death_signal or command.stop_signal
    account = command.account
    output, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        # A child must not wait for whoever reads its output: when we are frozen, it loses lines and goes on.
        os.set_blocking(write_end, False)
        process = subprocess.Popen(
            [setpriv, "--no-new-privs", "--pdeathsig", death.name.removeprefix("SIG"), "--", *command.argv],
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            cwd=command.folder,
            env=dict(command.environment),
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(write_end)
    return Child(command, process, output, on_line)


def _allow_open_files(wanted: int) -> None:
    """Raise our own soft limit, which the child inherits: we may not change another user's process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def spare_when_memory_ends(pid: int) -> None:
    """Make the kernel kill the appliance before ``pid`` when memory runs out."""
    score = Path(f"/proc/{pid}/oom_score_adj")
    try:
        score.write_text(str(PREFERRED_OOM_SCORE))
        return
    except PermissionError:
        log.debug("no right to spare a child, offering ourselves first", pid=pid)
    except OSError as error:
        log.debug("the order in which the kernel kills processes is unchanged", pid=pid, error=str(error))
        return  # it has ended, which its keeper notices; or /proc is read-only
    try:
        own = Path("/proc/self/oom_score_adj")
        own.write_text(str(max(OWN_OOM_SCORE, int(own.read_text()))))
        score.write_text("0")
    except OSError as error:  # it has ended, which its keeper will see; or /proc is read-only
        log.debug("the order in which the kernel kills processes is unchanged", pid=pid, error=str(error))
