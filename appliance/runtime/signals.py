"""Requests to stop from the operating system: SIGTERM, SIGINT, and SIGHUP of a terminal that is closed."""

import os
import signal

import structlog
import trio

from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

ONE_WISH_SECONDS = 0.4
"""Signals within this many seconds count as one: the terminal and make both signal a process group."""


class StopSignal:
    """A request to stop: the first signal drains, a second one ends the process at once."""

    def __init__(self, everything: trio.CancelScope) -> None:
        self._everything = everything
        self._asked = trio.Event()
        self._waited_for = False
        self._first = 0.0

    async def wait(self) -> None:
        """Return when the process was asked to stop."""
        self._waited_for = True
        await self._asked.wait()

    async def watch_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen for the signals until cancelled; SIGHUP stays ignored where it is, as under nohup."""
        hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, *hang_up) as signals:
            activity().doing("waits for a signal to stop")
            task_status.started()
            async for number in signals:
                now = trio.current_time()
                if self._asked.is_set() and now - self._first < ONE_WISH_SECONDS:
                    continue
                log.info("stopping", signal=signal.Signals(number).name)
                if self._asked.is_set():
                    os._exit(128 + number)  # the kernel signals the children: PR_SET_PDEATHSIG
                self._first = now
                self._asked.set()
                if not self._waited_for:  # still starting: nothing was accepted yet, so nothing is drained
                    self._everything.cancel()
