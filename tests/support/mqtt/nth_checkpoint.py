"""Cancel a piece of work at the n-th checkpoint that anybody comes to meanwhile, whichever that is.

Not only its own: a client has a task in the background, which may be anywhere when it is cancelled.
"""

from collections.abc import Awaitable, Callable

import trio


class _Canceller(trio.abc.Instrument):
    """Cancels a scope when tasks have yielded to Trio n times."""

    def __init__(self, scope: trio.CancelScope, number: int) -> None:
        self._scope = scope
        self._left = number

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - whichever it is
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def cancelled_at(number: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Do the work, cancelled at the ``number``-th checkpoint; return whether it came to that."""
    with trio.CancelScope() as scope:
        canceller = _Canceller(scope, number)
        trio.lowlevel.add_instrument(canceller)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancel_called
