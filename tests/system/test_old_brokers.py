"""A whole appliance at a broker that speaks only MQTT 3.1.1: the dashboard opens, and all say what is wrong."""

import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import trio

from tests.support.appliance_process import ApplianceProcess, free_port
from tests.support.busy import within
from tests.support.mosquitto_server import MosquittoServer
from tests.support.scripted_server import scripted_server

ANSWERS = (
    bytes((0x20, 2, 0, 1)),  # MQTT 3.1.1: unacceptable protocol version
    b"",  # it hangs up
    bytes((0x20, 2, 0, 0)),  # it accepts, as one that does not look at the version
)
WORDS = {
    "the broker refused us: unsupported protocol version (it speaks only MQTT 3.1.1 or older, and MQTT 5 is needed)",
    "the broker closed the connection without an answer: does it speak MQTT 5 on this port, or only 3.1.1?",
}
PATIENCE = 60.0


@pytest.fixture
def appliance() -> Iterator[ApplianceProcess]:
    """An appliance without a broker yet, and with a port of the dashboard that is known before it is ready."""
    port = free_port()
    process = ApplianceProcess({"APPLIANCE_WEB_PORT": str(port)})
    process.run = {"web_url": f"http://127.0.0.1:{port}"}
    try:
        yield process
    finally:
        process.close()


def missing(appliance: ApplianceProcess) -> str | None:
    """Return what the appliance says of its broker; None when it says nothing yet."""
    try:
        answer = json.loads(appliance.get("/readyz"))
    except (urllib.error.URLError, ConnectionError):
        return None
    assert answer["status"] in {"ready", "not ready"}
    return str(answer.get("missing", {}).get("broker", "nothing"))


async def test_a_broker_of_the_old_mqtt_is_named_and_the_appliance_waits_for_a_better_one(
    appliance: ApplianceProcess,
) -> None:
    answers = itertools.cycle(ANSWERS)

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(next(answers))

    better = MosquittoServer()
    async with scripted_server(refuse) as better.port:
        appliance.settings["APPLIANCE_BROKER_URL"] = f"mqtt://127.0.0.1:{better.port}"
        appliance.launch()
        with trio.fail_after(within(PATIENCE)):
            while await trio.to_thread.run_sync(missing, appliance) not in WORDS:
                await trio.sleep(0.05)
        assert appliance.run_file() is None, "it is not ready"
        assert b"Sign in" in await trio.to_thread.run_sync(appliance.get, "/sign-in")
    with better:
        await trio.to_thread.run_sync(appliance.wait_ready)
        assert missing(appliance) == "nothing"
    log = appliance.log.read_text()
    assert all(words in log for words in WORDS)
    assert log.count('"level": "error"') == 1, "what is missing is told once"
