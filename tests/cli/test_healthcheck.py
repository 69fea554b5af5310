"""``appliance healthcheck`` tells who lives from who does not, whatever is ready and whatever ports are open."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from appliance.children.data_dir import SOCKETS
from appliance.children.polling import until
from appliance.config import locate_data_dir
from appliance.diagnostics.liveness import SOCKET
from appliance.errors import ConfigurationError
from tests.support.appliance_process import ApplianceProcess
from tests.support.project import ROOT

PATIENCE_SECONDS = 60.0


def _check(appliance: ApplianceProcess, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", "healthcheck"],
        cwd=ROOT,
        env=appliance.environment(**extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_what_waits_is_alive_and_what_does_not_run_is_not(appliance: ApplianceProcess) -> None:
    before = _check(appliance)
    assert before.returncode == 1
    assert before.stderr == f"error: the appliance on {appliance.data_dir} is not alive: none runs there\n"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a database that never answers: the start waits for it
        url = f"postgresql://appliance:a-walrus-on-a-bicycle@127.0.0.1:{silent.getsockname()[1]}/appliance"
        appliance.settings["APPLIANCE_DATABASE_URL"] = url
        appliance.launch()
        with trio.fail_after(PATIENCE_SECONDS):
            await until((appliance.data_dir / SOCKETS / SOCKET).exists, period=0.05)
        # A fault that would keep it from starting again is no reason to end it.
        waiting = _check(appliance, APPLIANCE_WEB_PUBLIC_URL="not an address")
        assert (waiting.returncode, waiting.stdout) == (0, "alive, and not ready: /readyz and the log say why\n")
        assert appliance.run_file() is None
        assert appliance.stop() == 0
    assert not (appliance.data_dir / SOCKETS).is_symlink()


def test_the_environment_names_the_folder_whatever_else_is_wrong(tmp_path: Path) -> None:
    environ = {"APPLIANCE_DATA_DIR": str(tmp_path), "APPLIANCE_NO_SUCH_KEY": "1"}
    assert locate_data_dir(tmp_path / "absent.toml", environ) == tmp_path


def test_without_it_the_configuration_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "appliance.toml").write_text('data_dir = "here"\n')
    assert locate_data_dir(tmp_path / "appliance.toml", {}) == tmp_path / "here"
    with pytest.raises(ConfigurationError, match="absent"):
        locate_data_dir(tmp_path / "absent.toml", {})
