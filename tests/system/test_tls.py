"""A whole appliance under TLS: what it says of itself, and its own commands as people copy them."""

import hashlib
import json
import re
import shlex
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.appliance_process import ApplianceProcess, SetUp, set_up_by, started
from tests.support.documents import commands
from tests.support.project import ROOT

PATIENCE_SECONDS = 30.0
ENVIRONMENT = {
    "APPLIANCE_WEB_TLS": "true",
    "APPLIANCE_BROKER_TLS_PORT": "0",
    "APPLIANCE_INGEST_REQUIRE_TOKEN": "false",  # so that a reason of refusal can be shown over HTTP
}


@pytest.fixture(scope="module")
def secured() -> Iterator[ApplianceProcess]:
    """An appliance that speaks TLS to people and devices."""
    with started(ENVIRONMENT) as process:
        yield process


@pytest.fixture(scope="module")
def made(secured: ApplianceProcess) -> SetUp:
    """What the set-up by its link has shown."""
    return set_up_by(secured.set_up_link(), "Acme Farms")


@pytest.fixture(scope="module")
def ca(secured: ApplianceProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ca.crt, which was fetched over plain HTTP as the page says."""
    folder = tmp_path_factory.mktemp("ca")
    plain = secured.run["web_url"].replace("https:", "http:")
    with urllib.request.urlopen(f"{plain}/ca.crt", timeout=20) as answer:
        (folder / "ca.crt").write_bytes(answer.read())
    return folder


def wait_for_readings(secured: ApplianceProcess, count: int) -> None:
    """Return once so many readings are stored."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (stored := len(secured.query("SELECT FROM telemetry"))) < count:
        assert time.monotonic() < deadline, (stored, secured.tail())
        time.sleep(0.05)


def fingerprint(folder: Path) -> str:
    """The SHA-256 of ca.crt, in hex."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert((folder / "ca.crt").read_text())).hexdigest().upper()


def test_the_run_file_the_link_and_the_console_say_https(secured: ApplianceProcess, made: SetUp) -> None:
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+", secured.run["web_url"])
    assert secured.run["mqtt_tls_port"]
    assert secured.set_up_link().startswith(secured.run["web_url"])
    assert "http://" not in secured.tail().partition("The appliance is ready")[2]
    assert made.cookies.keys() == {"__Host-appliance-session", "__Host-appliance-browser"}


def test_the_console_the_command_and_the_page_show_the_same_fingerprint(secured: ApplianceProcess, ca: Path) -> None:
    console = re.sub(r"[\s:]", "", secured.log.read_text())
    assert fingerprint(ca) in console
    shown = secured.command("ca")
    assert shown["fingerprint"].replace(":", "") == fingerprint(ca)
    assert secured.invoke("ca", "--pem").stdout.strip() == (ca / "ca.crt").read_text().strip()
    context = ssl.create_default_context(cafile=str(ca / "ca.crt"))
    with urllib.request.urlopen(f"{secured.run['web_url']}/trust", context=context, timeout=20) as answer:
        assert fingerprint(ca) in re.sub(r"[^0-9A-F]", "", answer.read().decode())


def test_the_lines_of_the_set_up_send_messages_under_tls(secured: ApplianceProcess, made: SetUp, ca: Path) -> None:
    assert tuple(made.mosquitto[made.mosquitto.index("--cafile") :][:2]) == ("--cafile", "ca.crt")
    assert str(secured.run["mqtt_tls_port"]) in made.mosquitto
    assert tuple(made.curl[1:3]) == ("--cacert", "ca.crt")
    assert made.curl[-1].startswith("https://")
    subprocess.run(made.mosquitto, cwd=ca, check=True, timeout=60)
    subprocess.run([*made.curl, "--fail", "--silent", "--show-error"], cwd=ca, check=True, timeout=60)
    plain = [*made.curl[:1], *made.curl[3:-1], made.curl[-1].replace("https:", "http:")]
    subprocess.run([*plain, "--fail", "--silent"], check=True, timeout=60, capture_output=True)
    wait_for_readings(secured, 3)


def test_the_commands_of_the_guide_do_what_it_says(secured: ApplianceProcess, made: SetUp, tmp_path: Path) -> None:
    given = {
        "ADDRESS:8080": secured.run["web_url"].removeprefix("https://"),
        "-h ADDRESS -p 8883": f"-h 127.0.0.1 -p {secured.run['mqtt_tls_port']}",
        "TENANT/device/DEVICE": "acme-farms/device/first",
        "PASSWORD": made.mosquitto[made.mosquitto.index("-P") + 1],
        "TOKEN": made.curl[4].rpartition(" ")[2],
    }
    before, said = len(secured.query("SELECT FROM telemetry")), ""
    for line in commands("docs/tls.md"):
        filled = line
        for stands_for, value in given.items():
            filled = filled.replace(stands_for, value)
        words = [part for part in shlex.split(filled) if part.strip()]
        start = [sys.executable, "-m", "appliance"] if words[0] == "appliance" else words[:1]
        fail = ["--fail"] if words[0] == "curl" else []
        done = subprocess.run(
            [*start, *words[1:], *fail],
            cwd=tmp_path,
            env=secured.environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (filled, done.stderr)
        said += done.stdout
    assert re.sub(r"[^0-9A-F]", "", said).count(fingerprint(tmp_path)) == 2, "openssl and the appliance agree"
    wait_for_readings(secured, before + 2)


def test_the_commands_of_the_appliance_reach_it(secured: ApplianceProcess, made: SetUp) -> None:
    del made  # the demo's tenants come after the set-up, as with a customer
    ready = next(
        one for one in json.loads(secured.invoke("doctor", "--json").stdout)["checks"] if one["name"] == "ready"
    )
    assert ready["status"] == "ok", ready
    assert secured.invoke("healthcheck").stdout.startswith("alive")
    (shown,) = secured.command("simulate", "--show", "UNKNOWN_TENANT")
    assert shown["seen"], shown
