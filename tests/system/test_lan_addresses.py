"""A whole appliance in a network of its own: its address goes, another one comes, and devices with its CA are back."""

import time
from collections.abc import Callable, Iterator

import pytest
from cryptography import x509

from appliance.tls.names import names_in
from tests.support.appliance_process import ApplianceProcess
from tests.support.lan import Lan

pytestmark = pytest.mark.real

OLD, NEW, NEW_V6 = "192.168.77.5", "192.168.77.6", "fd12:77::6"
WITHIN_SECONDS = 60.0


@pytest.fixture
def appliance() -> Iterator[ApplianceProcess]:
    process = ApplianceProcess({"APPLIANCE_BROKER_HOST": "0.0.0.0", "APPLIANCE_BROKER_TLS_PORT": "8883"})
    process.prefix = Lan.prefix
    try:
        yield process
    finally:
        process.close()


def test_devices_that_know_the_ca_come_back_at_the_new_address(appliance: ApplianceProcess) -> None:
    appliance.launch()
    assert appliance.process is not None
    lan = Lan(appliance.process.pid)
    lan.give(OLD)
    appliance.wait_ready()
    assert appliance.run["mqtt_tls_port"] == 8883
    user = appliance.tenant()
    ca_file = str(appliance.data_dir / "tls" / "ca.pem")

    def published(host: str, number: int) -> bool:
        """Publish over TLS as a device that trusts the CA alone."""
        where = ["-h", host, "-p", "8883", "--cafile", ca_file, "-u", user["username"], "-P", user["password"]]
        message = ["-V", "5", "-q", "1", "-t", "tenant/fleet/device/d/telemetry", "-m", f'{{"n": {number}}}']
        return lan.call("mosquitto_pub", *where, *message).returncode == 0

    _until(lambda: published(OLD, 1))
    lan.take(OLD)
    lan.give(NEW)
    lan.give(NEW_V6)
    _until(lambda: published(NEW, 2))
    assert not published(OLD, 3)

    leaf = x509.load_pem_x509_certificate((appliance.data_dir / "tls" / "leaf.pem").read_bytes())
    _until(lambda: NEW_V6 in _names(appliance))
    assert {"localhost", "127.0.0.1", NEW} <= set(names_in(leaf).texts)
    assert OLD not in _names(appliance)
    _until(lambda: appliance.query("SELECT metrics ->> 'n' FROM telemetry ORDER BY 1") == [("1",), ("2",)])
    assert appliance.log.read_text().count("certificate authority made") == 1


def _names(appliance: ApplianceProcess) -> tuple[str, ...]:
    content = (appliance.data_dir / "tls" / "leaf.pem").read_bytes()
    return names_in(x509.load_pem_x509_certificate(content)).texts


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
