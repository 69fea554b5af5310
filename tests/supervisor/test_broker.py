"""What the stage of the broker tells of it."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from appliance.children.keeper import ChildState, ChildStatus, Readiness
from appliance.mqtt.link import Link, LinkBoard, LinkChanges, LinkState
from appliance.mqtt.transport.address import parse
from appliance.supervisor.broker import NOT_LET_IN, BrokerAccess, by_mqtt


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://b:1884", "b", 1884),
        ("mqtts://b", "b", 8883),
        ("ws://b:8083", "b", 1883),
        ("wss://[::1]", "::1", 8883),
        ("unix:///run/mqtt.sock", "localhost", 1883),
    ],
)
def test_devices_are_sent_to_the_port_for_mqtt(url: str, host: str, port: int) -> None:
    assert by_mqtt(parse(url)) == (host, port)


@dataclass
class OwnBroker:
    """Our own Mosquitto, and the client of our session with it, as the stage sees them."""

    ready: Readiness = field(default_factory=Readiness)
    devices_wanted: bool = False
    board: LinkBoard = field(default_factory=lambda: LinkBoard("the broker"))
    silent: bool = False
    status: ChildStatus = field(default_factory=lambda: ChildStatus("b", ChildState.STARTING, None, None, 0, None))
    unsaved: None = None

    @property
    def devices_open(self) -> bool:
        return self.ready.is_set() and self.devices_wanted

    @property
    def link(self) -> Link:
        return self.board.link

    def link_changes(self) -> LinkChanges:
        return LinkChanges(self.board)

    def post(self, state: LinkState) -> None:
        self.board.post(Link(state, detail="it is away"))

    def access(self) -> BrokerAccess:
        """Return the stage, all of it well but this."""
        fields: dict[str, Any] = dict.fromkeys(BrokerAccess.__dataclass_fields__)
        well = SimpleNamespace(postgres=None, schema=None, trouble=None)
        storage = SimpleNamespace(health=well, postgres=None)
        fields |= {"storage": storage, "storing": well, "listener_probe": well, "room": well}
        fields |= {"embedded": self, "client": self, "disk_full": lambda: None}
        return BrokerAccess(**fields)


def test_it_is_not_ready_while_our_own_broker_lets_nobody_in() -> None:
    broker = OwnBroker()
    access = broker.access()
    broker.post(LinkState.READY)
    broker.ready.set()
    assert access.health().causes() == {"publishing": NOT_LET_IN}
    assert not access.ready()
    broker.devices_wanted = True
    assert access.ready()
    broker.post(LinkState.DOWN)
    assert access.health().causes() == {"broker": "it is away"}, "which explains the rest"
    broker.ready.clear()
    assert access.health().causes() == {"broker": "is starting"}, "and not what our client met at its socket"


async def test_a_start_is_complete_once_devices_are_let_in() -> None:
    broker = OwnBroker()
    access = broker.access()
    complete = False

    async def wait() -> None:
        nonlocal complete
        await access.wait_opened()
        complete = True

    broker.post(LinkState.DOWN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for step in (
            broker.ready.set,  # it serves us alone
            lambda: broker.post(LinkState.READY),
            lambda: broker.post(LinkState.DOWN),
            broker.ready.clear,  # it stops, to start with the listener of devices
            lambda: setattr(broker, "devices_wanted", True),
            lambda: broker.post(LinkState.READY),  # our client is back before the keeper has seen that it serves
        ):
            step()
            await trio.testing.wait_all_tasks_blocked()
            assert not complete
        broker.ready.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert complete
