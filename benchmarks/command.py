"""What the command of each benchmark does around its measurement: a folder for the servers, progress, a clean end."""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def servers_folder() -> Iterator[Path]:
    """Make an empty folder for the block, in which servers can run as users of their own; SIGTERM removes it too."""
    signal.signal(signal.SIGTERM, _leave)
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def progress(what: str, work: Callable[[], T]) -> T:
    """Do the work, and report it on standard error."""
    started = time.monotonic()
    print(f"{what} ...", end="", file=sys.stderr, flush=True)
    try:
        return work()
    finally:
        print(f" {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _leave(number: int, _: FrameType | None) -> None:
    """Make SIGTERM end us like Ctrl+C: what was started is stopped."""
    raise SystemExit(128 + number)
