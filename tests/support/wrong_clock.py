"""A wrong clock for a whole appliance: Debian's libfaketime, preloaded into it, its Postgres and its Mosquitto.

Only the wall clock is faked, and it can be set while they run. The children start in an environment of their own, so
their programs are found on a PATH with wrappers that preload it there.
"""

import os
import shutil
import stat
import time
from pathlib import Path

from appliance.children.programs import DEBIAN_POSTGRES, SYSTEM_PLACES
from appliance.service_clock.machine import SYNCHRONISED_VARIABLE

HOUR, DAY, YEAR = 3600, 86_400, 365 * 86_400

WRAPPER = """#!/bin/sh
{variables}
export {names}
exec {program} "$@"
"""


def library() -> Path:
    """Return the library; raises AssertionError that names the package."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "apt-get install libfaketime"
    return found[0]


class WrongClock:
    """The wall clock of an appliance in ``folder``. Right at first, and not synchronised, whatever the kernel says."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o755)
        self._offset = folder / "offset"
        self._synchronised = folder / "synchronised"
        self._programs = folder / "bin"
        self.ahead(0)
        self._faking = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its mend for an old glibc ends each wait of a thread for Python's lock at once: waiting, it takes a core.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }
        self._wrap()

    def settings(self) -> dict[str, str]:
        """Return what the environment of the appliance needs."""
        return {
            **self._faking,
            SYNCHRONISED_VARIABLE: str(self._synchronised),
            "PATH": f"{self._programs}:{os.environ['PATH']}",
        }

    def ahead(self, seconds: float) -> None:
        """Set the wall clock so many seconds ahead of the right time, or behind it."""
        new = self._offset.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.chmod(0o644)
        new.rename(self._offset)

    def at(self, moment: float) -> None:
        """Set the wall clock to a time in seconds since 1970."""
        self.ahead(moment - time.time())

    def synchronise(self) -> None:
        """Let the kernel report a synchronised clock, from a right one on."""
        self.ahead(0)
        self._synchronised.touch()

    def _wrap(self) -> None:
        self._programs.mkdir(mode=0o755)
        newest = max(DEBIAN_POSTGRES.glob("*/bin"), key=lambda folder: int(folder.parent.name))
        mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(SYSTEM_PLACES))
        assert mosquitto is not None
        for program in (newest / "postgres", newest / "initdb", Path(mosquitto)):
            variables = "\n".join(f"{name}='{value}'" for name, value in self._faking.items())
            wrapper = self._programs / program.name
            wrapper.write_text(WRAPPER.format(variables=variables, names=" ".join(self._faking), program=program))
            wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
