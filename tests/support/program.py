"""The program as a person starts it, to its end: in a process of its own, or in this one, which is faster."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from appliance.cli import cli
from appliance.cli.program import first_error
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


def invoke(settings: Mapping[str, str], *arguments: str, typed: str | None = None) -> Result:
    """Run a command in this process, with ``settings`` as the only variables of the appliance.

    ``typed`` is its input. Its log goes elsewhere than its output, as that of the program does.
    """
    environ = {name: None for name in os.environ if name.startswith("APPLIANCE_")} | dict(settings)
    with capture_logs():
        return CliRunner().invoke(cli, arguments, env=environ, input=typed)


def handled(result: Result) -> Result:
    """Return the result of a command; raises what the command did not handle itself."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise first_error(result.exception)
    return result
