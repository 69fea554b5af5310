"""Says how a process of ours starts this program once more, for work that gets a process of its own.

In a checkout and from the wheel the interpreter runs the package; in the single file there is no interpreter, and the
program itself is started.
"""

import sys
from pathlib import Path

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from appliance.__main__ import main; sys.exit(main())"
"""Runs the very code that runs here: another copy of it may be installed beside a checkout."""


def own_command(*arguments: str) -> list[str]:
    """Return the command line that runs ``appliance`` with ``arguments``, whichever way this process was started.

    It finds the same code whatever the working directory is; the configuration is the caller's to hand on.
    """
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    # -P: a folder called appliance in the working directory is not the program
    return [sys.executable, "-P", "-c", START, str(Path(__file__).parents[1]), *arguments]
