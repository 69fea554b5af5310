"""What the machine says of time: its wall clock, the time since its boot, and whether its clock is synchronised."""

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.service_clock.service_time import Readings

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SYNCHRONISED_VARIABLE = "EDGE_CLOCK_SYNCHRONISED"
"""For tests: a file that takes the kernel's place. The clock is synchronised while it exists. As with failpoints, no
configuration key: nobody sets it by accident."""
TIME_ERROR = 5
"""Return value of adjtimex(2): the clock is not synchronised."""
STA_UNSYNC = 0x40
"""Bit of ``status`` in ``struct timex``: the same."""
_STATUS_OFFSET = 40 if ctypes.sizeof(ctypes.c_long) == 8 else 20
"""Where ``status`` lies in ``struct timex``: behind modes, offset, freq, maxerror and esterror."""
_TIMEX_BYTES = 512
"""More than ``struct timex`` takes on any machine (208 bytes with 64-bit longs)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The clocks of the machine."""

    wall: Callable[[], float]
    """Seconds since 1970, right or wrong."""
    elapsed: Callable[[], float]
    """Seconds since the boot, suspended time included."""
    synchronised: Callable[[], bool]
    """Whether the kernel reports a synchronised clock."""
    boot_id: str

    def readings(self) -> Readings:
        """Return all of them at this moment."""
        return Readings(self.wall(), self.elapsed(), self.synchronised())


def this_machine(environ: Mapping[str, str]) -> Machine:
    """Return the clocks of this machine."""
    return Machine(time.time, _since_boot, _synchronised(environ), boot_id())


def boot_id() -> str:
    """Return what tells this boot of the machine from every other; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _synchronised(environ: Mapping[str, str]) -> Callable[[], bool]:
    stand_in = environ.get(SYNCHRONISED_VARIABLE)
    if stand_in:
        return Path(stand_in).exists
    return kernel_synchronised


def kernel_synchronised() -> bool:
    """Return whether something keeps the kernel's clock synchronised; False where the kernel may not be asked.

    adjtimex(2) with ``modes`` 0 changes nothing and needs no right. A clock that is set by hand counts as not
    synchronised from that moment on, until NTP has set it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = libc.adjtimex(timex)
    status = ctypes.c_int.from_buffer(timex, _STATUS_OFFSET).value
    return state >= 0 and state != TIME_ERROR and not status & STA_UNSYNC
