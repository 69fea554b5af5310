"""A whole appliance whose devices come under TLS alone, by a certificate of another authority."""

import socket
import subprocess
import time

import pytest

from tests.support.appliance_process import ApplianceProcess
from tests.support.pki import Issued, authority, server, write_files

pytestmark = pytest.mark.real

ROOT = Issued("A root", extensions=authority())
BETWEEN = Issued("An intermediate", ROOT, extensions=authority())


def test_devices_come_under_tls_alone_by_a_certificate_of_the_configuration(appliance: ApplianceProcess) -> None:
    leaf = Issued("localhost", BETWEEN, extensions=(server("localhost"),), days=20)
    certificate, key = write_files(appliance.folder, leaf.pem + BETWEEN.pem, leaf.key_pem())
    ca_file = appliance.folder / "root.pem"
    ca_file.write_bytes(ROOT.pem)
    appliance.settings |= {
        "APPLIANCE_BROKER_PLAIN": "false",
        "APPLIANCE_BROKER_TLS_PORT": "0",
        "APPLIANCE_BROKER_CERTIFICATE_FILE": str(certificate),
        "APPLIANCE_BROKER_KEY_FILE": str(key),
    }
    appliance.start()
    assert appliance.run["mqtt_port"] == 0, "there is none in clear text"
    port = appliance.run["mqtt_tls_port"]
    user = appliance.tenant()

    def published(*options: str) -> int:
        """Publish once, and return the exit code of the device."""
        who = ["-u", user["username"], "-P", user["password"], "-V", "5", "-q", "1"]
        message = ["-t", "tenant/fleet/device/d/telemetry", "-m", '{"n": 1}']
        words = ["mosquitto_pub", "-h", "localhost", *options, *who, *message]
        return subprocess.run(words, check=False, capture_output=True, timeout=60).returncode

    assert published("-p", str(port), "--cafile", str(ca_file)) == 0
    assert published("-p", str(appliance.mqtt_port)) != 0
    assert not (appliance.data_dir / "tls").exists(), "no authority is made that nobody needs"
    metrics = appliance.get("/metrics").decode()
    assert 'appliance_certificate_expiry_timestamp_seconds{listener="broker"}' in metrics
    assert b"ready" in appliance.get("/readyz"), "the probe comes in, whoever has signed the certificate"
    deadline = time.monotonic() + 60
    while not (told := appliance.query("SELECT summary FROM fleet_alert WHERE fingerprint LIKE 'system:certif%%'")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert told == [(f"The certificate of the broker of {socket.gethostname()} ends soon",)]
    assert appliance.stop() == 0


def test_a_certificate_that_cannot_be_used_is_one_line_that_names_its_key(appliance: ApplianceProcess) -> None:
    leaf = Issued("localhost")
    certificate, key = write_files(appliance.folder, leaf.pem[:200], leaf.key_pem())
    appliance.settings |= {"APPLIANCE_BROKER_TLS_PORT": "0", "APPLIANCE_BROKER_CERTIFICATE_FILE": str(certificate)}
    appliance.settings["APPLIANCE_BROKER_KEY_FILE"] = str(key)
    appliance.launch()
    assert appliance.process is not None
    assert appliance.process.wait(60) == 1
    last = appliance.log.read_text().rstrip().splitlines()[-1]
    assert last.startswith(f"error: broker.certificate_file: {certificate} holds a certificate that is cut off")
