"""The signals that end the program: Ctrl+C, of a service manager that stops, and of a terminal that was closed.

While nothing runs yet or any more - modules are imported, the interpreter ends - they end it at once and silently,
where Python would print the place in which it was. While a command runs they end it softly, as Ctrl+C does, which Trio
delivers safely: it takes back what is half. What somebody handles or ignores, as nohup does, stays so.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType


def end_at_once() -> None:
    """Let the signals end the process from now on. Called in the main thread."""
    _set(AT_ONCE)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let the signals end the process during the block: Python may turn an interrupted import into another error."""
    with _handled(AT_ONCE):
        yield


@contextmanager
def ended_softly() -> Iterator[None]:
    """Let the signals end the block by KeyboardInterrupt, which Trio hands to its main task."""
    # Where Ctrl+C is ignored, Trio hands nothing on, and the others must go on ending the process.
    with _handled(SOFTLY if signal.getsignal(signal.SIGINT) in _OURS else {}):
        yield


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 of a container: the kernel spares it


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.raise_signal(signal.SIGINT)


_Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None
AT_ONCE: Mapping[int, _Handler] = {signal.SIGINT: _end, signal.SIGTERM: _end, signal.SIGHUP: _end}
SOFTLY: Mapping[int, _Handler] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: _interrupt,
    signal.SIGHUP: _interrupt,
}
_OURS = (signal.SIG_DFL, signal.default_int_handler, _end, _interrupt)
"""What may be replaced: how a process begins, and what stands above."""


@contextmanager
def _handled(handlers: Mapping[int, _Handler]) -> Iterator[None]:
    try:
        before = _set(handlers)
    except ValueError:  # not the main thread, the only one that may
        yield
        return
    try:
        yield
    finally:
        _set(before)


def _set(handlers: Mapping[int, _Handler]) -> Mapping[int, _Handler]:
    """Set the handlers in place of ours; return which were there."""
    before = {number: signal.getsignal(number) for number in handlers}
    replaced = {number: handler for number, handler in before.items() if handler in _OURS}
    for number in replaced:
        signal.signal(number, handlers[number])
    return replaced
