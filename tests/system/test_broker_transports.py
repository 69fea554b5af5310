"""A whole appliance at a broker of others, by TLS with certificates on both sides, and by WebSocket under TLS."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from appliance.mqtt.client import Client
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.certificates import Authority
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.websocket_bridge import websocket_bridge
from tests.system.test_neighbours import furnish

PATIENCE = 60.0
CA = "APPLIANCE_BROKER_CA_FILE"
TOPIC = "tenant/fleet/device/d-1/telemetry"


@pytest.fixture
def appliance() -> Iterator[ApplianceProcess]:
    """An appliance that is not started yet."""
    with closing(ApplianceProcess()) as process:
        yield process


def stored(appliance: ApplianceProcess) -> set[int]:
    return {int(number) for (number,) in appliance.query("SELECT metrics ->> 'n' FROM telemetry")}


async def has_stored(appliance: ApplianceProcess, number: int) -> None:
    with trio.fail_after(within(PATIENCE)):
        while number not in await trio.to_thread.run_sync(stored, appliance):
            await trio.sleep(0.05)


async def test_an_appliance_receives_over_tls_and_over_websocket_in_one_session(
    appliance: ApplianceProcess, tmp_path: Path
) -> None:
    authority = Authority()
    _, key = authority.certificate("appliance").files(tmp_path)
    (tmp_path / "ca.pem").write_text(authority.pem)
    key.chmod(0o640)
    tls = {
        CA: str(tmp_path / "ca.pem"),
        "APPLIANCE_BROKER_CLIENT_CERTIFICATE_FILE": str(tmp_path / "certificate.pem"),
        "APPLIANCE_BROKER_CLIENT_KEY_FILE": str(key),
    }
    server_certificate = authority.certificate("localhost")
    with MosquittoServer(certificate=server_certificate, client_ca=authority.pem) as server:
        async with (
            websocket_bridge(server.port, context=server_certificate.server_context()) as secure_port,
            Client(server.host, server.port, clean_start=True) as device,
        ):
            ways = [
                {"APPLIANCE_BROKER_URL": f"mqtts://localhost:{server.tls_port}", **tls},
                {"APPLIANCE_BROKER_URL": f"wss://localhost:{secure_port}", CA: tls[CA]},
            ]
            for number, way in enumerate(ways):
                await trio.to_thread.run_sync(partial(appliance.start, **way))
                if number == 0:
                    furnish(appliance)
                await device.publish(TOPIC, b'{"n":%d}' % (2 * number))
                await has_stored(appliance, 2 * number)
                assert f"MQTT broker  {way['APPLIANCE_BROKER_URL']}" in appliance.tail()
                assert "Traceback" not in appliance.tail()
                if number == 0:
                    assert await trio.to_thread.run_sync(appliance.stop) == 0
                    await device.publish(TOPIC, b'{"n":1}')  # which waits for it
            await has_stored(appliance, 1)
