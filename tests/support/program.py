"""The program as a person starts it, to its end."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.project import ROOT

END_SECONDS = 60.0


def run_program(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``appliance`` with nothing but ``environ`` in its environment, and return how it ended and what it wrote."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=END_SECONDS,
    )
