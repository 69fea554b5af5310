"""Who may do what at the broker: each user and each kind of topic stand in a table, tried with a real Mosquitto.

A new line of the ACL, a new kind of message, or a right that somebody gains is red until its row is here.
"""

import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from mqtt5 import QoS

from appliance.broker.accounts import PRIVATE_USER, PROBE_TOPIC, PROBE_USER
from appliance.broker.credentials_sync import users_of
from appliance.broker.neighbours import TOPIC as PEERS_TOPIC
from appliance.children.mosquitto_files import acl_file
from appliance.devices import tenants
from appliance.devices.credentials import broker_sync
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError
from appliance.reading import Kind
from tests.support.postgres_server import Database, ground
from tests.support.synced_broker import SyncSetup, accepted, open_sync
from tests.support.tenants import BY, GRACE, TENANT, issue_tenant, sell

pytestmark = pytest.mark.real

OTHER = "globex"
DEVICE, SIBLING, UNKNOWN, FOREIGN = "acme/device/d1", "acme/device/d2", "acme/device/new", "globex/device/x"

TOPICS: Mapping[str, str] = {
    **{f"own {kind}": f"tenant/{DEVICE}/{kind}" for kind in Kind},
    **{f"of a device without credential: {kind}": f"tenant/{UNKNOWN}/{kind}" for kind in Kind},
    "own, another kind": f"tenant/{DEVICE}/config",
    "own, below a kind": f"tenant/{DEVICE}/telemetry/x",
    "own downlink": f"tenant/{DEVICE}/down/set/rate",
    "of a sibling": f"tenant/{SIBLING}/telemetry",
    "downlink of a sibling": f"tenant/{SIBLING}/down/set",
    "of a device without credential: another kind": f"tenant/{UNKNOWN}/config",
    "downlink of a device without credential": f"tenant/{UNKNOWN}/down/set",
    "of the tenant itself": f"tenant/{TENANT}/telemetry",
    "downlink of the tenant itself": f"tenant/{TENANT}/down/set",
    "of another tenant's device": f"tenant/{FOREIGN}/telemetry",
    "downlink of another tenant's device": f"tenant/{FOREIGN}/down/set",
    "of another tenant's new device": f"tenant/{OTHER}/device/new/telemetry",
    "of the probe": PROBE_TOPIC,
    "of the neighbours": PEERS_TOPIC,
    "of the broker": "$SYS/broker/clients/connected",
    "elsewhere": "x",
}
"""What may be published to and subscribed, seen from the device d1 of acme."""

ALL = frozenset(TOPICS)
OWN = frozenset(f"own {kind}" for kind in Kind)
NEW = frozenset(f"of a device without credential: {kind}" for kind in Kind)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may write and read; everything else is refused."""

    writes: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()


TABLE: Mapping[str, Rights] = {
    "the appliance": Rights(ALL - {"of the broker"}, ALL),
    "the probe": Rights(frozenset({"of the probe"})),
    "a device": Rights(OWN, frozenset({"own downlink"})),
    # Devices announce themselves by the claim user until they have a credential; for those that have one it is denied.
    "the claim user": Rights(NEW, frozenset({"downlink of the tenant itself"})),
    "a device of another tenant": Rights(
        frozenset({"of another tenant's device"}), frozenset({"downlink of another tenant's device"})
    ),
    "the claim user of another tenant": Rights(frozenset({"of another tenant's new device"})),
}
"""Every user that is let in."""

SHUT_OUT = (
    "nobody",
    "a wrong password",
    "a device with another's password",
    "a revoked device",
    "a device that is shut out",
    "a claim user that is switched off",
    "the appliance with a device's password",
)
"""Everybody who is not."""

FILTERS = (
    "#", "+/+", "+/+/+/+/+", "tenant/#", "tenant/+/device/+/down/#", f"tenant/{DEVICE}/#", "$SYS/#", "$SYS/broker/+/+",
)  # fmt: skip
"""What is subscribed to; Mosquitto grants every filter, and decides at each message."""

LINES: Mapping[str, str] = {
    f"user {PRIVATE_USER}": "the appliance",
    "topic readwrite #": "the appliance",
    "topic read $SYS/#": "the appliance",
    f"user {PROBE_USER}": "the probe",
    f"topic write {PROBE_TOPIC}": "the probe",
    "topic deny tenant/#": "the probe",
    **{f"pattern write tenant/%u/{kind}": "a device" for kind in Kind},
    "pattern read tenant/%u/down/#": "a device",
    f"user {TENANT}": "the claim user",
    f"topic deny tenant/{TENANT}/+": "the claim user",
    f"topic deny tenant/{DEVICE}/#": "the claim user",
    f"topic deny tenant/{SIBLING}/#": "the claim user",
    **{f"topic write tenant/{TENANT}/device/+/{kind}": "the claim user" for kind in Kind},
    f"user {OTHER}": "the claim user of another tenant",
    f"topic deny tenant/{OTHER}/+": "the claim user of another tenant",
    f"topic deny tenant/{FOREIGN}/#": "the claim user of another tenant",
    **{f"topic write tenant/{OTHER}/device/+/{kind}": "the claim user of another tenant" for kind in Kind},
}
"""Each line of the broker's ACL, and the row of the table that tries it."""


class AtTheBroker:
    """A broker with all users of the table."""

    def __init__(self, there: SyncSetup) -> None:
        self.there = there
        self.passwords: dict[str, tuple[str, str]] = {}
        """By row: user and password, for the devices' listener."""

    async def fill(self) -> None:
        """Make two tenants with devices."""
        there, connection = self.there, self.there.connection
        device, sibling = await there.add("d1"), await there.add("d2")
        async with connection.transaction():
            claim = await tenants.rotate_claim(connection, TENANT, BY)
            other_claim = await issue_tenant(connection, OTHER)
            await sell(connection, 3, tenant_id=OTHER)
            await changes.create(connection, OTHER, NewDevice("x"), BY, grace=GRACE)
            foreign = await there.issue(OTHER, "x")
            change = await broker_sync.this_change(connection)
        await there.arrived(change)
        self.passwords = {
            "the probe": (PROBE_USER, there.mosquitto.probe_password),
            "a device": (device.username, device.password),
            "the claim user": (claim.claim_username, claim.claim_password),
            "a device of another tenant": (foreign.username, foreign.password),
            "the claim user of another tenant": (other_claim.claim_username, other_claim.claim_password),
            "a wrong password": (device.username, "x" * 24),
            "a device with another's password": (device.username, sibling.password),
            "the appliance with a device's password": (PRIVATE_USER, device.password),
        }

    def client(self, who: str, identifier: str | None = None, *, session: int = 0) -> Client:
        """Return a client of a user; the appliance's own comes by the private listener."""
        endpoint, devices = self.there.mosquitto.endpoint, self.there.mosquitto.devices
        if who == "the appliance":
            return Client(
                unix_socket=str(endpoint.socket),
                username=endpoint.username,
                password=endpoint.password,
                reconnect=False,
            )
        user, password = self.passwords.get(who, (None, None))
        return Client(
            devices.host,
            devices.port,
            identifier=identifier,
            username=user,
            password=password,
            session_expiry_interval=session,
            reconnect=False,
        )


@contextlib.asynccontextmanager
async def at_the_broker(database: Database) -> AsyncIterator[AtTheBroker]:
    """A broker, its users, and the database that they come from."""
    folder = Path(tempfile.mkdtemp(prefix="edge-topics-", dir=ground()))
    folder.chmod(0o755)
    try:
        async with open_sync(database, folder) as there:
            broker = AtTheBroker(there)
            await broker.fill()
            yield broker
    finally:
        shutil.rmtree(folder)


async def writable(client: Client) -> frozenset[str]:
    """Return the topics to which a client may publish."""
    found = set()
    for label, topic in TOPICS.items():
        with contextlib.suppress(NegativeAckError):
            await client.publish(topic, label.encode(), qos=QoS.AT_LEAST_ONCE)
            found.add(label)
    return frozenset(found)


async def readable(client: Client, appliance: Client) -> frozenset[str]:
    """Return the topics that reach a client when the appliance publishes to each."""
    for pattern in FILTERS:
        await client.subscribe(pattern, max_qos=QoS.AT_MOST_ONCE)
    for label, topic in TOPICS.items():
        with contextlib.suppress(NegativeAckError):
            await appliance.publish(topic, label.encode(), qos=QoS.AT_LEAST_ONCE)
    found = set()
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            async for message in client.messages():
                label = message.payload.decode() if not message.topic.startswith("$SYS") else "of the broker"
                if label in TOPICS:
                    found.add(label)

        nursery.start_soon(take)
        with contextlib.suppress(NegativeAckError):  # the answer comes behind whatever was delivered before
            await client.publish("fence", b"", qos=QoS.AT_LEAST_ONCE)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return frozenset(found)


async def test_every_user_writes_and_reads_what_the_table_says_and_nothing_else(database: Database) -> None:
    async with at_the_broker(database) as broker, broker.client("the appliance") as appliance:
        for who, rights in TABLE.items():
            async with broker.client(who) as client:
                assert await writable(client) == rights.writes, who
            async with broker.client(who) as client:
                assert await readable(client, appliance) == rights.reads, who


async def test_everybody_else_is_not_let_in(database: Database) -> None:
    async with at_the_broker(database) as broker:
        there = broker.there
        for who in TABLE:
            assert await accepted(broker.client(who)), who
        for row, name in (("a revoked device", "d3"), ("a device that is shut out", "d4")):
            issued = await there.add(name)
            broker.passwords[row] = (issued.username, issued.password)
            assert await accepted(broker.client(row)), row
        broker.passwords["a claim user that is switched off"] = broker.passwords["the claim user"]
        there.log.shut_out.add("acme/device/d4", 600)
        async with there.connection.transaction():
            await changes.revoke(there.connection, TENANT, "d3", BY)
            await tenants.set_claim(there.connection, TENANT, BY, enabled=False)
            change = await broker_sync.this_change(there.connection)
        await there.arrived(change)
        for who in SHUT_OUT:
            assert not await accepted(broker.client(who)), who


async def test_every_line_of_the_acl_has_its_row(database: Database) -> None:
    async with at_the_broker(database) as broker:
        rendered = acl_file(users_of(await broker_sync.read(broker.there.connection)))
    lines = {line for line in rendered.splitlines() if line and not line.startswith("#")}
    assert lines == set(LINES)
    assert set(LINES.values()) <= set(TABLE)


async def test_who_takes_the_client_id_of_a_session_gets_nothing_of_its_queue(database: Database) -> None:
    async with at_the_broker(database) as broker, broker.client("the appliance") as appliance:
        down = TOPICS["own downlink"]
        async with broker.client("a device", "pump", session=3600) as device:
            await device.subscribe(f"tenant/{DEVICE}/down/#")
        await appliance.publish(down, b"secret", qos=QoS.AT_LEAST_ONCE)
        async with broker.client("a device of another tenant", "pump", session=3600) as thief:
            received = set()
            async with trio.open_nursery() as nursery:

                async def take() -> None:
                    async for message in thief.messages():
                        received.add(message.payload)

                nursery.start_soon(take)
                await thief.subscribe("#")
                await appliance.publish(down, b"secret, too", qos=QoS.AT_LEAST_ONCE)
                own = TOPICS["downlink of another tenant's device"]
                await appliance.publish(own, b"its own", qos=QoS.AT_LEAST_ONCE)
                await thief.publish(TOPICS["of another tenant's device"], b"2", qos=QoS.AT_LEAST_ONCE)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert received == {b"its own"}
