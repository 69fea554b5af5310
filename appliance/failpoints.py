"""Named places where a test may have the process die as if its power were cut.

``EDGE_FAILPOINT=after_commit:3`` kills the process with SIGKILL the third time it comes by ``after_commit``. Without
the variable a failpoint is one comparison. It is no configuration key: nobody sets it by accident.

``in_a_check`` kills nothing: it makes a check fail, as a bug would, for messages of the device called FAULTY_DEVICE.
"""

import os
import signal
from collections.abc import Mapping

VARIABLE = "EDGE_FAILPOINT"
IN_A_CHECK = "in_a_check"
FAULTY_DEVICE = "failpoint"
NAMES = frozenset(
    {
        "before_commit",
        "after_commit",
        "after_first_puback",
        "before_drop_commit",
        "after_drop_commit",
        "after_checkpoint",
        "after_day_closed",
        "after_day_rolled_up",
        "before_delivery_settled",
        "before_slice_commit",
        "after_slice_commit",
        "upgrade_copied",
        "backup_begun",
        "backup_half",
        "backup_written",
        "backup_verified",
        "backup_named",
        "backup_removing",
        "restore_step",
        IN_A_CHECK,
    }
)


class Failpoints:
    """Calls with a name count down; at zero the process is gone."""

    __slots__ = ("_left", "name")

    def __init__(self, name: str | None = None, count: int = 1) -> None:
        self.name = name
        self._left = count

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Failpoints":
        """Return the failpoint that the environment asks for, if any. Raises ValueError for an unknown name."""
        text = environ.get(VARIABLE)
        if not text:
            return cls()
        name, _, count = text.partition(":")
        if name not in NAMES:
            raise ValueError(f"{VARIABLE}: no failpoint {name!r}; there are {', '.join(sorted(NAMES))}")
        return cls(name, int(count or 1))

    def __call__(self, name: str) -> None:
        """Come by the place ``name``."""
        if name != self.name:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
