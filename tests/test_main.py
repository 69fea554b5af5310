"""The outermost boundary: what an error becomes on standard error and as an exit code."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import appliance
from appliance.cli.program import first_error, report
from appliance.errors import ApplianceError, ConfigurationError, ServiceEndedError
from tests.support.program import run_program
from tests.support.project import ROOT


def test_usage_errors_are_one_line_and_exit_2(tmp_path: Path) -> None:
    for arguments in (["rnu"], ["version", "--jsn"], ["version", "more"], ["--configs", "x", "version"]):
        done = run_program(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.endswith("--help)\n")
        assert done.stderr.count("\n") == 1


def test_configuration_errors_are_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run_program("check-config", cwd=tmp_path, APPLIANCE_WEB_PROT="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: $APPLIANCE_WEB_PROT: unknown variable; the nearest is $APPLIANCE_WEB_PORT\n"


def test_no_arguments_show_help_and_exit_2(tmp_path: Path) -> None:
    done = run_program(cwd=tmp_path)
    assert done.returncode == 2
    assert "check-config" in done.stdout + done.stderr


def test_version_needs_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "appliance.toml").write_text("broken")
    done = run_program("version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"appliance {appliance.__version__} ")


def test_a_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "check-config"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ApplianceError("it is so"), 1, "error: it is so\n"),
        (ConfigurationError("wrong\nline \x1b"), 2, "error: wrong\\x0aline \\x1b\n"),
        (ExceptionGroup("n", [ExceptionGroup("m", [ApplianceError("deep")])]), 1, "error: deep\n"),
        (ExceptionGroup("n", [ServiceEndedError("it ended"), ApplianceError("the cause")]), 1, "error: the cause\n"),
        (ExceptionGroup("n", [ExceptionGroup("m", [ServiceEndedError("it ended")])]), 1, "error: it ended\n"),
        (click.UsageError("so not"), 2, "error: so not\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BaseExceptionGroup("n", [KeyboardInterrupt()]), 130, ""),
        (SystemExit(3), 3, ""),
    ],
)
def test_errors_for_people(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == said


def test_a_surprise_shows_its_own_traceback_and_no_group(capsys: pytest.CaptureFixture[str]) -> None:
    def crash() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        crash()
    group = BaseExceptionGroup("nursery", [KeyboardInterrupt(), ExceptionGroup("nursery", [caught.value])])
    assert first_error(group) is caught.value
    assert report(group) == 1
    said = capsys.readouterr().err
    assert "in crash" in said
    assert "ExceptionGroup" not in said
    assert said.endswith("error: unexpected KeyError: 'lost'\n")


def test_closed_standard_streams_are_empty_and_no_file_takes_their_place(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m appliance backup --sheet --passphrase-stdin'
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "APPLIANCE_DATA_DIR": str(tmp_path)}
    for closed in ("<&-", "<&- >&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {command} {closed}"],
            env=environ, stderr=subprocess.PIPE, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (
            1,
            "error: the passphrase must be one line without control characters.\n",
        )
