"""The signals that end a command, so that it takes back what is half: as Ctrl+C does, which Trio delivers safely."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Of a service manager that stops, and of a terminal that was closed."""


@contextmanager
def soft_end() -> Iterator[None]:
    """Let the signals end the block like Ctrl+C; those that somebody handles or ignores, as nohup does, stay so."""
    before = {number: signal.getsignal(number) for number in ENDING}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.raise_signal(signal.SIGINT)
