"""A server of tests: a process in a folder of its own, which a test may end, kill, pause and start again."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ServerProcess(ABC):
    """One server, which keeps its folder over ``stop`` or ``kill`` and ``start``; ``close`` removes it.

    Started as root it runs as ``user``. Start it from the main thread: it dies with the thread that started it.
    """

    title: ClassVar[str]
    """For messages."""
    user: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_seconds: ClassVar[float] = 20.0
    """Seconds that an end in order may take; then it is killed."""
    close_signal: ClassVar[signal.Signals] = signal.SIGKILL
    """What ends it when nothing of it is needed any more, also when the process of the tests has been killed."""
    poll_seconds: ClassVar[float] = 0.005
    log_name: ClassVar[str] = "log"
    """The file in its folder."""

    def __init__(self, prefix: str, ground: Path = Path("/tmp")) -> None:
        """``prefix`` of the folder's name, below ``ground``."""
        self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir=ground))
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of its first process."""
        assert self._process is not None, f"{self.title} is not running"
        return self._process.pid

    @abstractmethod
    def start(self) -> None:
        """Start it and return once it accepts connections."""

    def stop(self) -> None:
        """End it in order, by ``stop_signal``."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """SIGKILL: nothing is said and nothing is saved."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP to all of it: connections stay open and nothing answers."""
        for pid in self._pids(self.pid):
            signal_process(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``pause``."""
        for pid in reversed(self._pids(self.pid)):
            signal_process(pid, signal.SIGCONT)

    def log(self) -> str:
        """Return what is in its log."""
        path = self.directory / self.log_name
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End it without anything being written, and remove its folder."""
        self._end(self.close_signal)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _pids(self, first: int) -> Sequence[int]:
        """Return the processes that a pause has to reach, ``first`` of them first."""
        return [first]

    def _own(self, *paths: Path) -> None:
        """Give paths to the user that it runs as."""
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, self.user, self.user)

    def _spawn(
        self, command: Sequence[str], output: IO[bytes] | int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the program; what it writes goes to ``output``."""
        root = os.geteuid() == 0
        self._process = subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=self._die_with_parent,  # noqa: PLW1509 - a test process starts its servers from its only thread
            user=self.user if root else None,
            group=self.user if root else None,
            extra_groups=[] if root else None,
        )

    def _becomes(self, ready: Callable[[], bool], deadline: float) -> bool:
        """Return whether it is ready before ``deadline``, in monotonic seconds, and before it ends."""
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            if ready():
                return True
            time.sleep(self.poll_seconds)
        return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        for pid in self._pids(process.pid):
            signal_process(pid, signal.SIGCONT)  # a paused one would not notice
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _die_with_parent(self) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, self.close_signal)


def signal_process(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):  # it ended by itself meanwhile
        os.kill(pid, number)
