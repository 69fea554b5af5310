"""``appliance simulate`` as a person runs it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from appliance.children.data_dir import RunFile, open_data_dir
from appliance.cli import cli
from appliance.simulate.ledger import read
from tests.support.certificates import Authority
from tests.support.mosquitto_server import MosquittoServer

pytestmark = pytest.mark.real
DEADLINE = 60.0


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "appliance", "simulate", *options]


def simulate(*options: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*options),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def at(server: MosquittoServer) -> tuple[str, ...]:
    return ("--host", server.host, "--port", str(server.port))


def test_a_bounded_run_ends_with_a_summary_and_a_ledger(mosquitto: MosquittoServer, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    done = simulate(
        *at(mosquitto), "--rate", "0", "--messages", "300", "--json", "--seed", "7", "--ledger", str(ledger)
    )
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    assert (result["sent"], result["acknowledged"], result["unanswered"], result["seed"]) == (300, 300, 0, 7)
    assert sum(result["behaviours"].values()) == 300
    entries = read(ledger.read_bytes())
    assert len(entries) == 300
    assert sum(entry.refusal is not None for entry in entries) == sum(result["expected_refusals"].values())
    assert all(entry.topic.startswith("tenant/fleet/device/") for entry in entries)


def test_without_json_the_summary_is_text(mosquitto: MosquittoServer) -> None:
    done = simulate(*at(mosquitto), "--devices", "2", "--mix", "normal", "--duration", "0.6", "--rate", "20")
    assert done.returncode == 0
    summary = re.match(r"(\d+) messages sent in [\d.]+ s, \1 acknowledged by the broker", done.stdout)
    assert summary is not None, done.stdout
    assert 0 < int(summary[1]) <= 12, "a busy machine sends fewer, none sends more"
    assert f"by behaviour: normal {summary[1]}" in done.stdout


def test_ctrl_c_ends_it_cleanly_with_the_summary(mosquitto: MosquittoServer, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    os.mkfifo(ledger)
    with subprocess.Popen(
        command(*at(mosquitto), "--rate", "0", "--json", "--ledger", str(ledger)), stdout=subprocess.PIPE, text=True
    ) as running:
        with ledger.open("rb") as lines:
            lines.readline()  # it is under way
            running.send_signal(signal.SIGINT)
            rest = lines.read()
        output, _ = running.communicate(timeout=DEADLINE)
    result = json.loads(output)
    assert running.returncode == 0
    assert result["sent"] == result["acknowledged"] == len(rest.splitlines()) + 1


def test_refusals_by_the_broker_end_with_1() -> None:
    with MosquittoServer(users={"acme": "secret-secret"}) as server:
        (server.directory / "acl").write_text("pattern write tenant/%u/device/+/+\n")
        server._config = (f"acl_file {server.directory}/acl",)
        server.restart()
        given = (
            *at(server),
            "--username",
            "acme",
            "--mix",
            "normal",
            "--devices",
            "1",
            "--rate",
            "0",
            "--messages",
            "5",
        )
        done = simulate(*given, "--tenant", "other", environ={"MQTT_PASSWORD": "secret-secret"})
        assert done.returncode == 1
        assert "refused by the broker: NOT_AUTHORIZED 5" in done.stdout
        done = simulate(*given, "--tenant", "acme", environ={"MQTT_PASSWORD": "secret-secret"})
        assert (done.returncode, done.stderr) == (0, "")
        done = simulate(*given, "--tenant", "acme", environ={"MQTT_PASSWORD": "wrong"})
        assert done.returncode == 1
        assert done.stderr.startswith("error: cannot connect to the MQTT broker")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mix", "nomal=3"), "'nomal' is no behaviour"),
        (("--tenant", "a b"), "--tenant"),
        (("--devices", "0"), "--devices"),
        (("--rate", "-1"), "--rate"),
        (("--duration", "0"), "--duration"),
    ],
)
def test_a_wrong_option_is_a_usage_error(options: tuple[str, str], words: str) -> None:
    with pytest.raises(click.UsageError) as error:
        cli.main(["simulate", *options], standalone_mode=False)
    assert error.value.exit_code == 2
    assert words in error.value.format_message()


def test_without_an_appliance_it_says_what_to_do(tmp_path: Path) -> None:
    done = simulate(environ={"APPLIANCE_DATA_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == (f"error: no appliance is ready on {tmp_path}: start one (appliance run), or give --host\n")


def test_it_finds_the_appliance_of_its_data_folder() -> None:
    with MosquittoServer(users={"fleet": "claim-password"}) as server:
        folder = server.directory / "data"
        folder.mkdir()
        running = RunFile(os.getpid(), "", mqtt_host="0.0.0.0", mqtt_port=server.port, database="", socket_dir=None)
        with open_data_dir(folder) as data:
            data.write_run_file(running)
            environ = {"APPLIANCE_DATA_DIR": str(folder), "MQTT_PASSWORD": "claim-password"}
            done = simulate("--rate", "0", "--messages", "10", environ=environ)
            assert (done.returncode, done.stderr) == (0, "")


def test_it_finds_an_appliance_that_devices_reach_under_tls_alone() -> None:
    authority = Authority()
    with MosquittoServer(certificate=authority.certificate("127.0.0.1")) as server:
        folder = server.directory / "data"
        (folder / "tls").mkdir(parents=True)
        (folder / "tls" / "ca.pem").write_text(authority.pem)
        running = RunFile(os.getpid(), "", "127.0.0.1", 0, database="", socket_dir=None, mqtt_tls_port=server.tls_port)
        with open_data_dir(folder) as data:
            data.write_run_file(running)
            for port in ((), ("--port", str(server.tls_port))):
                done = simulate("--rate", "0", "--messages", "10", *port, environ={"APPLIANCE_DATA_DIR": str(folder)})
                assert (done.returncode, done.stderr) == (0, "")


def test_it_knows_the_certificate_by_file_of_the_appliance_by_whatever_name() -> None:
    given = Authority().certificate("*.gateway.example")
    with MosquittoServer(certificate=given) as server:
        folder = server.directory / "data"
        folder.mkdir()
        (folder / "chain.pem").write_text(given.pem)
        running = RunFile(os.getpid(), "", "127.0.0.1", 0, database="", socket_dir=None, mqtt_tls_port=server.tls_port)
        with open_data_dir(folder) as data:
            data.write_run_file(running)
            environ = {
                "APPLIANCE_DATA_DIR": str(folder),
                "APPLIANCE_BROKER_TLS_PORT": str(server.tls_port),
                "APPLIANCE_BROKER_CERTIFICATE_FILE": str(folder / "chain.pem"),
            }
            done = simulate("--rate", "0", "--messages", "10", environ=environ)
            assert (done.returncode, done.stderr) == (0, "")


def test_it_reaches_an_external_broker_as_the_appliance_does() -> None:
    authority = Authority()
    with MosquittoServer(certificate=authority.certificate("localhost")) as server:
        folder = server.directory / "data"
        folder.mkdir()
        (folder / "ca.pem").write_text(authority.pem)
        running = RunFile(
            os.getpid(), "", mqtt_host="localhost", mqtt_port=server.tls_port, database="", socket_dir=None
        )
        with open_data_dir(folder) as data:
            data.write_run_file(running)
            environ = {
                "APPLIANCE_DATA_DIR": str(folder),
                "APPLIANCE_BROKER_URL": f"mqtts://localhost:{server.tls_port}",
                "APPLIANCE_BROKER_CA_FILE": str(folder / "ca.pem"),
            }
            done = simulate("--rate", "0", "--messages", "10", environ=environ)
            assert (done.returncode, done.stderr) == (0, "")
