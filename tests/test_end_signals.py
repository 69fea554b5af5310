"""Signals that come while the program is imported, while a command runs, and as process 1 of a container."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT

RAISING = "import os, time\nos.kill(os.getpid(), {number})\ntime.sleep(10)\n"


def _run(*arguments: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    words = [sys.executable, *arguments]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
@pytest.mark.parametrize(("module", "command"), [("click", "version"), ("psycopg", "psql")], ids=["early", "command"])
def test_while_modules_are_imported_they_end_it_silently(
    tmp_path: Path, module: str, command: str, number: signal.Signals
) -> None:
    (tmp_path / f"{module}.py").write_text(RAISING.format(number=int(number)))
    done = _run("-m", "appliance", command, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


SOFTLY = """
import os, signal, sys, time
from appliance.end_signals import ended_softly
if sys.argv[1:]:
    signal.signal(int(sys.argv[1]), signal.SIG_IGN)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    try:
        with ended_softly():
            os.kill(os.getpid(), number)
            time.sleep(0.001)
            print(number.name, "ignored")
    except KeyboardInterrupt:
        print(number.name, "interrupts")
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


def test_a_command_is_interrupted_by_each_of_them_but_those_that_are_ignored() -> None:
    assert _run("-c", SOFTLY).stdout.splitlines() == ["SIGTERM interrupts", "SIGHUP interrupts", "SIGINT interrupts"]
    under_nohup = _run("-c", SOFTLY, str(int(signal.SIGHUP)))
    assert under_nohup.stdout.splitlines() == ["SIGTERM interrupts", "SIGHUP ignored", "SIGINT interrupts"]
    # Trio hands no interrupt on where it is ignored, as in the background of a script: the process must end still.
    in_background = _run("-c", SOFTLY, str(int(signal.SIGINT)))
    assert (in_background.returncode, in_background.stdout) == (-signal.SIGTERM, "")


SPARED = """
import signal
from appliance.end_signals import end_at_once
end_at_once()
end = signal.getsignal(signal.SIGTERM)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
end(signal.SIGTERM, None)
"""


def test_process_1_ends_too_which_the_kernel_spares() -> None:
    done = _run("-c", SPARED)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
