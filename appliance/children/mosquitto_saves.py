"""Whether Mosquitto saves its store, as far as its log lines and the store tell.

Every save begins with a line; the next line is an error if it fails, which names a reason and not the store: nothing is
done beside it. What such a save has written stays on the disk as a second file until the next save: on a full disk that
is all the room that there was, so it is removed. One failure has no line: when only the last buffer of the C library
does not fit, the store is replaced by one that is cut off. Such a store ends at a whole buffer, so those are read.
"""

from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

BEGINS = "Saving in-memory database"
FAILS = ("Error: ", "Error saving in-memory database")
UNFINISHED = ".new"
"""What the name of the second file ends with, as Mosquitto makes it."""
BUFFER_BYTES = 4096
"""What the C library writes at once: a block of the file system, on all that we know."""
CUT_OFF = "it was cut off, as on a full disk"


class Saves:
    """Reads the lines of a broker whose store is ``store``; ``trouble`` says why the last save failed, if it did."""

    def __init__(self, store: Path, is_complete: Callable[[], bool]) -> None:
        """``is_complete`` reads the store and returns whether its end is there."""
        self.trouble: str | None = None
        self._store = store
        self._is_complete = is_complete
        self._saving = False
        """Whether the last line was the beginning of a save."""
        self._ended = False
        """Whether a save has begun, and no line has said that it failed."""

    def heard(self, line: str) -> bool:
        """Take note of a line; return whether it belongs to a save."""
        if line.startswith(BEGINS):
            if self._ended:
                self._judge(CUT_OFF if self._is_cut_off() else None)
            self._saving = self._ended = True
            return True
        failed, self._saving = self._saving and line.startswith(FAILS), False
        if not failed:
            return False
        self._ended = False
        self._judge(line.rpartition(": ")[2].rstrip(".") or line)
        try:
            self._store.with_name(self._store.name + UNFINISHED).unlink(missing_ok=True)
        except OSError as error:
            log.warning("what a save has left cannot be removed", error=str(error))
        return True

    def started(self) -> None:
        """Forget what an earlier process said: this one has not saved yet."""
        self._saving, self._ended, self.trouble = False, False, None

    def _judge(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            log.error("the broker cannot save its queue", cause=trouble)
        elif trouble is None and self.trouble is not None:
            log.info("the broker saves its queue again")
        self.trouble = trouble

    def _is_cut_off(self) -> bool:
        try:
            size = self._store.stat().st_size
        except OSError:
            return False
        return size % BUFFER_BYTES == 0 and not self._is_complete()
