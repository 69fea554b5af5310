"""The gate of the device listener, against our own Mosquitto."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.broker import listener_gate
from appliance.children import mosquitto_program
from appliance.children.data_dir import open_data_dir
from appliance.children.keeper import Readiness
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits
from appliance.children.polling import until
from appliance.clock import SystemClock
from appliance.mqtt.client import Client
from appliance.mqtt.link import Link, LinkBoard, LinkChanges, LinkState

SUBSCRIPTION = "tenant/+/device/+/+"
PATIENCE_SECONDS = 60.0


class OpenBroker:
    """Our Mosquitto after a clean end: it lets devices in once the keeper has seen that it serves."""

    def __init__(self) -> None:
        self.ready = Readiness()
        self.closed = 0

    @property
    def devices_open(self) -> bool:
        return self.ready.is_set()

    async def open_devices(self) -> bool:
        return True

    async def close_devices(self) -> None:
        self.closed += 1


class Session:
    """Our client, as far as the gate looks at it."""

    def __init__(self) -> None:
        self.board = LinkBoard("the broker")

    @property
    def link(self) -> Link:
        return self.board.link

    def link_changes(self) -> LinkChanges:
        return LinkChanges(self.board)


async def test_a_session_that_is_over_before_the_broker_is_seen_to_serve_closes_nothing() -> None:
    session, mosquitto = Session(), OpenBroker()
    session.board.post(Link(LinkState.READY, 1, session_present=False))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener_gate.keep_gate, session, mosquitto)  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()
        session.board.post(Link(LinkState.READY, 2, session_present=True))
        mosquitto.ready.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert mosquitto.closed == 0


@pytest.mark.real
async def test_devices_that_came_back_after_a_clean_end_of_the_broker_are_not_dropped_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []

    def heard(line: str) -> None:
        if line.endswith(" starting"):
            starts.append(line)

    with open_data_dir(folder / "data") as data_dir:
        mosquitto = Mosquitto(
            data_dir,
            host="127.0.0.1",
            port=0,
            subscription=SUBSCRIPTION,
            limits=BrokerLimits(),
            clock=SystemClock(),
            on_line=heard,
        )
        async with trio.open_nursery() as nursery:
            endpoint = await nursery.start(mosquitto.run)
            session = Client(
                unix_socket=str(endpoint.socket),
                username=endpoint.username,
                password=endpoint.password,
                identifier=data_dir.instance.mqtt_client_id,
                session_expiry_interval=1000,
                keep_trying=True,
            )
            async with session:
                await session.subscribe(SUBSCRIPTION)
                await nursery.start(listener_gate.keep_gate, session, mosquitto)
                await session.ready()
                assert len(starts) == 2, "once without devices, once with them"
                looks = trio.Event()  # the keeper looks whether the broker serves only once our client is back

                async def late(check: Callable[[], bool], *, period: float) -> None:
                    await looks.wait()
                    await until(check, period=period)

                monkeypatch.setattr(mosquitto_program, "until", late)
                assert mosquitto.status.pid is not None
                os.kill(mosquitto.status.pid, signal.SIGTERM)
                with trio.fail_after(PATIENCE_SECONDS):
                    await session.disconnected()
                    await session.ready()
                    await trio.testing.wait_all_tasks_blocked(0.05)  # the gate has heard of it
                    assert not mosquitto.ready.is_set()
                    looks.set()
                    await mosquitto.ready.wait()
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    assert mosquitto.devices_open
                assert len(starts) == 3
                nursery.cancel_scope.cancel()
