"""The program as a single file: what has to be put right before anything else runs. It does nothing elsewhere.

The file unpacks itself (``release/launcher.sh``) and starts a program that finds its own libraries by LD_LIBRARY_PATH.
Postgres, Mosquitto and pg_dump must never see that: they would load our libpq and our libssl instead of the system's.
"""

import os
import sys
from collections.abc import MutableMapping

LIBRARIES = "LD_LIBRARY_PATH"
SAVED = "LD_LIBRARY_PATH_ORIG"
"""What it was before: PyInstaller keeps it there if it was set."""
OWN = "_PYI_"
"""What PyInstaller tells itself: a program of ours that is started again must start as from the outside."""


def enter() -> None:
    """Make the environment that of whoever started the file. Our own libraries were found before, at our start."""
    if getattr(sys, "frozen", False):
        restore(os.environ)


def restore(environ: MutableMapping[str, str]) -> None:
    """Take away what the start of the single file has put into ``environ``."""
    before = environ.pop(SAVED, None)
    if before:
        environ[LIBRARIES] = before
    else:
        environ.pop(LIBRARIES, None)
    for name in [name for name in environ if name.startswith(OWN)]:
        del environ[name]
