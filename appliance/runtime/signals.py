"""The wish to stop, as the operating system tells it: SIGTERM and SIGINT."""

import os
import signal

import structlog
import trio

from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

ONE_WISH_SECONDS = 0.4
"""Signals this close together are one: a process group is told by the terminal and by make at once."""


class StopSignal:
    """The wish to stop: the first signal drains, a second one ends the process on the spot."""

    def __init__(self, everything: trio.CancelScope) -> None:
        self._everything = everything
        self._asked = trio.Event()
        self._waited_for = False
        self._first = 0.0

    async def wait(self) -> None:
        """Return when somebody asked the process to stop."""
        self._waited_for = True
        await self._asked.wait()

    async def watch_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen for SIGTERM and SIGINT until cancelled."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            activity().doing("waits for SIGTERM or SIGINT")
            task_status.started()
            async for number in signals:
                now = trio.current_time()
                if self._asked.is_set() and now - self._first < ONE_WISH_SECONDS:
                    continue
                log.info("stopping", signal=signal.Signals(number).name)
                if self._asked.is_set():
                    os._exit(128 + number)  # the kernel tells the children: PR_SET_PDEATHSIG
                self._first = now
                self._asked.set()
                if not self._waited_for:  # still starting: nothing was promised yet, so nothing is drained
                    self._everything.cancel()
