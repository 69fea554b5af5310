"""The commands of README and guides, run as they stand there against a running appliance, from its first start."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from tests.support import fork_server
from tests.support.appliance_process import EMAIL, ApplianceProcess
from tests.support.documents import GUIDES, TRIED, blocks, prose, to_run

CSV = "device_id,name,site_id,place,tags,subscription_id,interval\npump-9,Pump 9,hall,,a|b,,60\n"
SECONDS = 60
VARIABLE = re.compile(r"\$(?:\{)?([A-Z_]+)")
SHELL = re.compile(r" [|<>&] ")
"""What only a shell understands."""
SETTING = re.compile(r"[A-Z_]+=")
OPERATION = re.compile(r"`(?:(GET|POST|PUT|PATCH|DELETE) )?(/(?:customer|operator)/[\w/{}-]*\w}?)[`?]")


class Reader:
    """Somebody who follows the documents: runs one command after the other, and keeps what was shown once."""

    def __init__(self, appliance: ApplianceProcess, folder: Path, password: str) -> None:
        self._appliance = appliance
        self._folder = folder
        self._first_password = password
        self.answers: list[str] = []

    def run(self, line: str) -> str:
        """Run a command and return what it printed; fails with its error."""
        sources: Mapping[str, Callable[[], str]] = {
            "PASSWORD": lambda: self._first_password,
            "TOKEN": lambda: self._token,
            "API_TOKEN": lambda: self._api_token,
            "OPERATOR_TOKEN": lambda: self._operator_token,
            "CLAIM_PASSWORD": lambda: self._appliance.command("tenant", "rotate-claim", "norrvik")["claim_password"],
            "FREEZER_PASSWORD": lambda: self._shown(r"username +acme/device/freezer-1\npassword +(\S+)"),
            "INTEGRATION_ID": lambda: self._shown(r'"integration_id":"([^"]+)","name"'),
            "SUBSCRIPTION_ID": lambda: self._appliance.command("subscription", "list", "norrvik")[0]["subscription_id"],
        }
        secrets = {name: sources[name]() for name in VARIABLE.findall(line)}
        words = [] if SHELL.search(line) else shlex.split(VARIABLE.sub(lambda found: secrets[found[1]], line))
        settings = dict(word.split("=", 1) for word in takewhile(SETTING.match, words))
        program, *arguments = words[len(settings) :] or [""]
        if program == ".venv/bin/appliance":
            here = [str(self._folder / word) if word.endswith((".csv", ".zip")) else word for word in arguments]
            env = self._appliance.environment(**settings)
            done = fork_server.programs().run("appliance", here, env=env, seconds=SECONDS)
        else:
            done = self._shell(line, secrets)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        self.answers.append(done.stdout)
        return done.stdout

    def run_python(self, source: str) -> list[str]:
        """Run a program of the guide for devices and return the lines that it printed."""
        assert "http://127.0.0.1:8080" in source
        program = source.replace("http://127.0.0.1:8080", self._appliance.run["web_url"])
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "TOKEN": self._token},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        return done.stdout.splitlines()

    def _shell(self, line: str, secrets: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        adapted = line.replace("-p 1883", f"-p {self._appliance.mqtt_port}").replace(
            "http://127.0.0.1:8080", self._appliance.run["web_url"]
        )
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", adapted],
            cwd=self._folder,
            env={**os.environ, **secrets},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def _shown(self, pattern: str) -> str:
        """Return what the newest answer with this pattern has in its group."""
        return next(match[1] for text in reversed(self.answers) if (match := re.search(pattern, text)))

    @cached_property
    def _token(self) -> str:
        token: str = self._appliance.command("device", "rotate", "acme", "first")["token"]
        return token

    @cached_property
    def _api_token(self) -> str:
        return self._token_of("ingrid@norrvik.example")

    @cached_property
    def _operator_token(self) -> str:
        return self._token_of(EMAIL)

    def _token_of(self, email: str) -> str:
        token: str = self._appliance.command("token", "add", email, "--scopes", "read,write")["token"]
        return token


def test_every_command_of_readme_and_guides_does_what_it_says(appliance: ApplianceProcess, tmp_path: Path) -> None:
    appliance.from_scratch = True
    appliance.start()
    (tmp_path / "devices.csv").write_text(CSV)
    words = appliance.set_up("Acme").mosquitto
    reader = Reader(appliance, tmp_path, words[words.index("-P") + 1])
    for name in TRIED:
        for line in to_run(name):
            reader.run(line)
    assert len(reader.answers) >= 40
    kinds = "SELECT kind, count(*) FROM telemetry WHERE tenant_id = 'acme' AND device_id = 'first' GROUP BY 1"
    assert dict(appliance.query(kinds)) == {"telemetry": 4, "heartbeat": 1, "status": 1}
    assert '{"accepted":1}' in reader.answers
    assert any('"device_id":"pump-7","metric":"temperature"' in text for text in reader.answers)
    assert any('"reason":"PENDING_APPROVAL"' in text for text in reader.answers), "the claim"
    assert appliance.query("SELECT status FROM fleet_alert WHERE device_id = 'freezer-1'") == [("CLOSED",)]
    started, added = (_labels(block) for block in blocks("docs/quick-start.md", "text"))
    assert started & _labels(appliance.log.read_text()) == started
    assert added in [_labels(answer) for answer in reader.answers]
    (plain, _) = blocks("docs/devices.md", "python")
    assert reader.run_python(plain) == ["True", "refused: INVALID_METRIC", "False"]
    known = json.loads(appliance.get("/openapi.json"))["paths"]
    for name in GUIDES:
        for method, path in OPERATION.findall(prose(name)):
            assert _operations(known, path), f"{name}: {path}"
            assert not method or method.lower() in _operations(known, path), f"{name}: {method} {path}"


def _labels(printed: str) -> set[str]:
    """Return what stands in the first column of an output for people, which two blanks end."""
    return set(re.findall(r"^ *(\S+(?: \S+)*)  +\S", printed, re.MULTILINE))


def _operations(known: Mapping[str, Mapping[str, object]], path: str) -> set[str]:
    """Return the methods of a path of the API, whatever its parameters are called."""
    shape = re.sub(r"\{\w+\}", "{}", path)
    return {method for found in known if re.sub(r"\{\w+\}", "{}", found) == shape for method in known[found]}
