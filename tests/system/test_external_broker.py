"""A whole appliance at a broker of others, by ``broker.url``.

First that broker speaks only MQTT 3.1.1; then it is an ejabberd that lets the appliance do no more than it needs.
"""

import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import trio

from appliance.mqtt.errors import NegativeAckError
from tests.support.appliance_process import ApplianceProcess, free_port
from tests.support.busy import within
from tests.support.certificates import Authority
from tests.support.ejabberd_clients import at
from tests.support.ejabberd_server import EjabberdServer
from tests.system.test_neighbours import SEATS

PASSWORD = "a long password"
DEVICES = ("d-0", "d-1", "d-2")
RIGHTS = {
    "access_subscribe": {"tenant/#": "appliance", "appliance/peers": "appliance"},
    "access_publish": {"tenant/+/device/%u/+": "all", "appliance/peers": "appliance"},
}
"""What the README asks for, and nothing else."""
LIMITS = {"session_expiry": "14 days", "max_queue": 1_000_000}
"""What it asks for beside them."""
OLD_ANSWERS = (
    bytes((0x20, 2, 0, 1)),  # MQTT 3.1.1: unacceptable protocol version
    b"",  # it hangs up
    bytes((0x20, 2, 0, 0)),  # it accepts, as one that does not look at the version
)
OLD_WORDS = {
    "the broker refused us: unsupported protocol version (it speaks only MQTT 3.1.1 or older, and MQTT 5 is needed)",
    "the broker closed the connection without an answer: does it speak MQTT 5 on this port, or only 3.1.1?",
}
PATIENCE = 60.0


@dataclass(frozen=True)
class AtTheOldBroker:
    """What an appliance said whose broker spoke only MQTT 3.1.1, before ejabberd took the port."""

    cause: str
    """At ``/readyz``."""
    sign_in: bytes
    ready: bool
    log: str


@dataclass(frozen=True)
class Site:
    """An appliance at its broker."""

    appliance: ApplianceProcess
    ejabberd: EjabberdServer
    before: AtTheOldBroker


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """An appliance that found a broker of the old MQTT first; then ejabberd took its port."""
    rules = {"appliance": {"allow": {"user": "appliance@localhost"}}}
    web_port, authority = free_port(), Authority()
    certificate = authority.certificate("localhost")
    with old_broker() as port:
        appliance = ApplianceProcess(
            {
                "APPLIANCE_BROKER_URL": f"mqtt://127.0.0.1:{port}",
                "APPLIANCE_BROKER_USERNAME": "appliance",
                "APPLIANCE_BROKER_PASSWORD": PASSWORD,
                "APPLIANCE_WEB_PORT": str(web_port),
            }
        )
        appliance.run = {"web_url": f"http://127.0.0.1:{web_port}"}  # known before it is ready
        try:
            appliance.launch()
            before = say_what_is_wrong(appliance)
        except BaseException:
            appliance.close()
            raise
    try:
        with EjabberdServer(
            users=dict.fromkeys(("appliance", *DEVICES), PASSWORD),
            options=RIGHTS,
            access_rules=rules,
            certificate=certificate,
            port=port,
        ) as server:
            appliance.wait_ready()
            (appliance.folder / "ca.pem").write_text(authority.pem)
            furnish(appliance)
            yield Site(appliance, server, before)
    finally:
        appliance.close()


@contextmanager
def old_broker() -> Iterator[int]:
    """Answer each connection in another way of a broker that speaks only MQTT 3.1.1; yield the port."""
    answers = itertools.cycle(OLD_ANSWERS)

    def serve() -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(next(answers))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def say_what_is_wrong(appliance: ApplianceProcess) -> AtTheOldBroker:
    """Wait until the appliance says that its broker is missing, and why."""
    deadline = time.monotonic() + within(PATIENCE)
    while True:
        assert time.monotonic() < deadline, appliance.tail()
        with suppress(OSError):  # the dashboard is not open yet
            cause = json.loads(appliance.get("/readyz")).get("missing", {}).get("broker")
            log = appliance.log.read_text()
            if cause in OLD_WORDS and all(words in log for words in OLD_WORDS):
                return AtTheOldBroker(cause, appliance.get("/sign-in"), appliance.run_file() is not None, log)
        time.sleep(0.05)


def furnish(appliance: ApplianceProcess) -> None:
    with psycopg.connect(appliance.conninfo()) as connection:
        for statement in SEATS:
            connection.execute(statement.encode())


def readings(numbers: range) -> list[tuple[str, bytes]]:
    """Return readings with times of their own, of three devices: each with its device, and the payload."""
    now = time.time()
    return [
        (DEVICES[number % len(DEVICES)], json.dumps({"ts": now - number / 100, "n": number}).encode())
        for number in numbers
    ]


async def sent(ejabberd: EjabberdServer, messages: list[tuple[str, bytes]]) -> None:
    """Send messages as their devices; returns when the broker has all of them."""
    for name in DEVICES:
        async with at(ejabberd, username=name, password=PASSWORD) as device:
            await device.publish_many(
                [(f"tenant/fleet/device/{name}/telemetry", payload) for sender, payload in messages if sender == name]
            )


def stored(appliance: ApplianceProcess) -> list[int]:
    return [int(number) for (number,) in appliance.query("SELECT metrics ->> 'n' FROM telemetry ORDER BY 1")]


async def has_stored(appliance: ApplianceProcess, count: int) -> list[int]:
    """Return the numbers of the stored readings once there are so many."""
    with trio.fail_after(within(PATIENCE)):
        while len(found := await trio.to_thread.run_sync(stored, appliance)) < count:
            await trio.sleep(0.05)
    return sorted(found)


async def warns(appliance: ApplianceProcess, words: str) -> None:
    """Return once the appliance is ready, and warns of its session in these words."""
    told: dict[str, Any] = {}
    with trio.move_on_after(within(PATIENCE)):
        while told.get("status") != "ready" or words not in told.get("warnings", {}).get("broker_session", ""):
            await trio.sleep(0.05)
            told = json.loads(await trio.to_thread.run_sync(appliance.get, "/readyz"))
        return
    raise AssertionError(f"{told}\n{appliance.tail()}")


def test_a_broker_of_the_old_mqtt_is_named_and_the_dashboard_opens_without_it(site: Site) -> None:
    before = site.before
    assert before.cause in OLD_WORDS
    assert b"Sign in" in before.sign_in
    assert not before.ready
    assert all(words in before.log for words in OLD_WORDS)


async def test_readings_are_stored_once_over_restarts_of_both_and_another_way_to_the_broker(site: Site) -> None:
    appliance, ejabberd = site.appliance, site.ejabberd
    bad = [("d-1", payload) for payload in (b"{", b"\xff", b"[1]")]
    await sent(ejabberd, [*readings(range(50)), *bad])
    assert await has_stored(appliance, 50) == list(range(50))
    async with at(ejabberd, username="d-1", password=PASSWORD) as device:
        with pytest.raises(NegativeAckError):
            await device.publish("tenant/fleet/device/d-2/telemetry", b"{}")

    await warns(appliance, "it keeps our session for 5 minutes, and 7 days are needed")

    appliance.kill()
    appliance.settings["APPLIANCE_BROKER_URL"] = ejabberd.url("wss")
    appliance.settings["APPLIANCE_BROKER_CA_FILE"] = str(appliance.folder / "ca.pem")
    await sent(ejabberd, readings(range(50, 80)))  # which ejabberd keeps for our session
    await trio.to_thread.run_sync(appliance.start)
    assert '"session_present": true' in appliance.log.read_text()
    assert await has_stored(appliance, 80) == list(range(80))

    ejabberd.kill()
    ejabberd.options |= LIMITS
    ejabberd.start()  # it has forgotten our session
    assert "cannot tell whether another appliance" not in appliance.log.read_text(), "it may ask"
    await warns(appliance, "it lost our session")
    await sent(ejabberd, readings(range(80, 100)))
    assert await has_stored(appliance, 100) == list(range(100))
    refused = appliance.query("SELECT reason FROM quarantine_events ORDER BY reason")
    assert [reason for (reason,) in refused] == ["INVALID_ENCODING", "INVALID_JSON", "INVALID_PAYLOAD"]
