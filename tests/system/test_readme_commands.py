"""The README's commands, run as they stand there against a running appliance, from its first start."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.appliance_process import ApplianceProcess
from tests.support.project import ROOT

BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
ELSEWHERE = ("make ", "docker ")
"""Commands that other tests and people run: they need a machine, not an appliance."""
CSV = "device_id,name,site_id,place,tags,subscription_id,interval\npump-9,Pump 9,hall,,a|b,,60\n"


def commands() -> list[str]:
    """Every command line of the README that is for a running appliance, in order."""
    lines = [line for block in BLOCK.findall((ROOT / "README.md").read_text()) for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith(ELSEWHERE)]


def test_every_command_of_the_readme_does_what_it_says(appliance: ApplianceProcess, tmp_path: Path) -> None:
    appliance.from_scratch = True
    appliance.start()
    (tmp_path / "devices.csv").write_text(CSV)
    words = appliance.set_up("Acme").mosquitto
    secrets = {"PASSWORD": words[words.index("-P") + 1]}
    done: list[str] = []
    for line in commands():
        if "$TOKEN" in line:
            secrets["TOKEN"] = appliance.command("device", "rotate", "acme", "first")["token"]
        if "$SUBSCRIPTION_ID" in line:
            secrets["SUBSCRIPTION_ID"] = appliance.command("subscription", "list", "norrvik")[0]["subscription_id"]
        if "$API_TOKEN" in line:
            made = appliance.command("token", "add", "ingrid@norrvik.example", "--scopes", "read,write")
            secrets["API_TOKEN"] = made["token"]
        if "$INTEGRATION_ID" in line:
            secrets["INTEGRATION_ID"] = json.loads(done[-1])["integration_id"]
        adapted = (
            line.replace(".venv/bin/appliance", f"{shlex.quote(sys.executable)} -m appliance")
            .replace("-p 1883", f"-p {appliance.mqtt_port}")
            .replace("http://127.0.0.1:8080", appliance.run["web_url"])
        )
        ran = subprocess.run(
            ["bash", "-c", adapted],
            cwd=tmp_path,
            env=appliance.environment(PYTHONPATH=str(ROOT), **secrets),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            input="y\n",
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        done.append(ran.stdout)
    assert len(done) >= 9
    stored = appliance.query("SELECT count(*) FROM telemetry WHERE tenant_id = 'acme' AND device_id = 'first'")
    assert stored == [(2,)], "one over MQTT, one over HTTP"
    assert '{"accepted":1}' in done
    assert any('"device_id":"pump-7","metric":"temperature"' in text for text in done)
