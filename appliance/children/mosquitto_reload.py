"""Makes a running Mosquitto read its files again, and detects when it has.

SIGHUP only sets a flag, and a second signal during a reload is lost with it. So there is one reload at a time: signal,
the log line that it begins, and then proof that the broker is back in its loop.

Only while the appliance's own session is connected. A session that was restored from the store has no password, so a
reload finds it "not authorised" and takes its rights: until it comes back, the broker acknowledges what devices publish
and drops it (2.0.11; a test shows it).
"""

import signal
from pathlib import Path

import trio

from appliance.children.first_of import first_of
from appliance.children.process import Child

BEGINS = "Reloading config."
PATIENCE = 10.0
"""Seconds for one reload: with 10,000 users and as many connections it takes half of one."""


class Reloader:
    """Signals the broker, and reads its log lines for the answer."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self._turn = trio.Lock()
        self.count = 0
        """Completed reloads."""

    def heard(self, line: str) -> None:
        """Handle one line of the broker's output."""
        if BEGINS in line:
            self._begun.set()

    async def reload(self, child: Child, private_socket: Path) -> bool:
        """Reload, and return True once the broker applies what its files held when this was called.

        Return False when it ended or did not answer: its successor reads the files by itself.
        """
        async with self._turn:
            self._begun = trio.Event()
            child.signal(signal.SIGHUP)
            with trio.move_on_after(PATIENCE):
                await first_of(self._begun.wait, child.ended.wait)
                done = self._begun.is_set() and await _serves(private_socket)
                self.count += done
                return done
            return False


async def _serves(private_socket: Path) -> bool:
    """Return when the broker closes a connection opened after the reload began: it is back in its loop."""
    try:
        async with await trio.open_unix_socket(str(private_socket)) as stream:
            await stream.send_eof()
            while await stream.receive_some(64):
                pass
    except (OSError, trio.BrokenResourceError):
        return False
    return True
