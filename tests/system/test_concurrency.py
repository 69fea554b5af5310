"""Two appliances on one database: whatever comes at once, one device is one row and one seat (P6, P7, P8, P9, P23)."""

import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
import pytest
import trio

from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import Connection, connect
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes as seats_changes
from appliance.devices.seats.imports import import_many
from appliance.errors import Invalid
from appliance.mqtt.client import Client
from appliance.reading import Reason
from appliance.renewals.answer import Answer
from appliance.renewals.plan import Request
from appliance.renewals.renewal import renew
from tests.renewals.family import POLICY, check_family
from tests.support import soak
from tests.support.accounting import look, watching_accounting
from tests.support.appliance_process import ApplianceProcess
from tests.support.busy import within
from tests.support.doctor import OF_THIS_SERVER
from tests.support.http_caller import Caller, Start
from tests.support.postgres_server import PostgresServer, create_database, drop_database
from tests.support.publisher import Entry, Publisher, client
from tests.support.tenants import BY, GRACE
from tests.system.test_kills import flowing, kill_with_a_batch_in_flight

T = TypeVar("T")

CALLERS = 100
repeated = pytest.mark.parametrize("repetition", range(soak.times(1)))
"""Each with a tenant and devices of its own."""
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Peers:
    """Two appliances, each with its own folder and its own broker, and their database."""

    processes: tuple[ApplianceProcess, ApplianceProcess]
    conninfo: str

    def __iter__(self) -> Iterator[ApplianceProcess]:
        return iter(self.processes)

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows as the superuser sees them, from a connection of its own; commits."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def tenant(self, tenant_id: str, seats: int) -> dict[str, str]:
        """Its claim user, whom both brokers know."""
        first, second = self.processes
        user = second.tenants[tenant_id] = first.tenant(tenant_id, seats)
        return user


@pytest.fixture(scope="module")
def peers(postgres_server: PostgresServer, database_template: str) -> Iterator[Peers]:
    """Two appliances that serve; the tests share them, each with a tenant of its own."""
    database = create_database(postgres_server, template=database_template, owner="appliance_owner")
    first, second = (ApplianceProcess({"APPLIANCE_DATABASE_URL": database.url}) for _ in range(2))
    try:
        for process in (first, second):
            process.launch()
        for process in (first, second):
            process.wait_ready()
        yield Peers((first, second), database.conninfo())
        for process in (first, second):
            assert "Traceback" not in process.log.read_text()
    finally:
        for process in (first, second):
            process.close()
        drop_database(database)


def message(number: int, base: int) -> bytes:
    """A reading with a time and a number of its own."""
    return b'{"ts":%d,"seq":%d,"temperature":21.5}' % (base + number, number)


async def received(peers: Peers, count: int) -> None:
    """Return once so many messages are accounted for."""
    deadline = trio.current_time() + PATIENCE_SECONDS
    while (await trio.to_thread.run_sync(look, peers.conninfo)).received < count:
        assert trio.current_time() < deadline, "not all messages were received"
        await trio.sleep(0.02)


@repeated
async def test_two_hundred_first_messages_of_one_device_are_one_device_and_two_hundred_rows(
    peers: Peers, repetition: int
) -> None:
    tenant_id, device = f"crowd-{repetition}", "new"
    user = peers.tenant(tenant_id, seats=5)
    base = int(time.time() * 1000) - 60_000
    before = look(peers.conninfo)
    path = f"/ingest/tenant/{tenant_id}/device/{device}/telemetry"
    statuses: list[int] = []
    start = Start(2 * CALLERS)

    async def over_http(number: int) -> None:
        caller = Caller(peers.processes[number % 2], user["password"])
        statuses.append((await caller.post(path, message(number, base), start=start)).status)

    async def over_mqtt(number: int) -> None:
        async with client(peers.processes[number % 2], f"crowd-{number}", tenant_id) as connection:
            await start.wait()
            await connection.publish(path.removeprefix("/ingest/"), message(number, base))

    async with watching_accounting(lambda: peers.conninfo):
        async with trio.open_nursery() as nursery:
            for number in range(CALLERS):
                nursery.start_soon(over_http, number)
                nursery.start_soon(over_mqtt, CALLERS + number)
        await received(peers, before.received + 2 * CALLERS)
    assert statuses == [202] * CALLERS
    after = look(peers.conninfo)
    assert (after.stored - before.stored, after.refused, after.duplicate) == (2 * CALLERS, before.refused, 0)
    rows = peers.query("SELECT device_id, seq FROM telemetry WHERE tenant_id = %s ORDER BY seq", tenant_id)
    assert rows == [(device, number) for number in range(2 * CALLERS)]
    instances = peers.query("SELECT count(DISTINCT instance) FROM ingest_ledger WHERE tenant_id = %s", tenant_id)
    assert instances == [(2,)], "one process did all the work: the test proved nothing"
    assert peers.query("SELECT device_id, status FROM device_registry WHERE tenant_id = %s", tenant_id) == [
        (device, "ACTIVE")
    ]
    assert peers.query("SELECT active_device_count FROM subscriptions WHERE tenant_id = %s", tenant_id) == [(1,)]
    assert peers.query("SELECT count(*) FROM quarantine_events WHERE tenant_id = %s", tenant_id) == [(0,)]
    audited = peers.query("SELECT count(*) FROM audit_log WHERE tenant_id = %s AND object_id = %s", tenant_id, device)
    assert audited == [(1,)]


@asynccontextmanager
async def fleet(peers: Peers, tenant_id: str) -> AsyncIterator[Callable[[str, int, int], Any]]:
    """A connection of the tenant's claim user to each broker; the function sends one message everywhere it can."""
    secret = peers.processes[0].tenants[tenant_id]["password"]
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(client(process, f"{tenant_id}-{place}", tenant_id))
            for place, process in enumerate(peers)
        ]

        async def send(device: str, number: int, base: int) -> None:
            """Four messages: over MQTT and over HTTP, to either process."""
            path = f"tenant/{tenant_id}/device/{device}/telemetry"
            for place, process in enumerate(peers):
                await connections[place].publish(path, message(number + place, base))
                await Caller(process, secret).post(f"/ingest/{path}", message(number + 2 + place, base))

        yield send


@repeated
async def test_fifty_new_devices_on_twenty_free_seats(peers: Peers, repetition: int) -> None:
    tenant_id, devices, seats, each = f"rush-{repetition}", 50, 20, 4
    peers.tenant(tenant_id, seats)
    base = int(time.time() * 1000) - 60_000
    before = look(peers.conninfo)
    async with watching_accounting(lambda: peers.conninfo), fleet(peers, tenant_id) as send:
        async with trio.open_nursery() as nursery:
            for number in range(devices):
                nursery.start_soon(send, f"d{number}", each * number, base)
        await received(peers, before.received + each * devices)
    seated = {
        device for (device,) in peers.query("SELECT device_id FROM device_registry WHERE tenant_id = %s", tenant_id)
    }
    assert len(seated) == seats
    assert peers.query(
        "SELECT active_device_count, device_limit FROM subscriptions WHERE tenant_id = %s", tenant_id
    ) == [(seats, seats)]
    stored = Counter(
        device for (device,) in peers.query("SELECT device_id FROM telemetry WHERE tenant_id = %s", tenant_id)
    )
    assert stored == dict.fromkeys(seated, each)
    held = peers.query("SELECT device_id, reason, status FROM quarantine_events WHERE tenant_id = %s", tenant_id)
    others = {f"d{number}" for number in range(devices)} - seated
    assert Counter(held) == dict.fromkeys(
        ((device, Reason.NO_SUBSCRIPTION_CAPACITY.value, "HELD") for device in others), each
    )

    first, _ = peers.processes
    [(subscription,)] = peers.query("SELECT subscription_id FROM subscriptions WHERE tenant_id = %s", tenant_id)
    async with watching_accounting(lambda: peers.conninfo, enough=2):
        await trio.to_thread.run_sync(first.command, "subscription", "set", subscription, "--limit", "50")
        done = await trio.to_thread.run_sync(first.command, "quarantine", "replay", "--tenant", tenant_id)
    assert (done["replay"]["status"], done["replay"]["replayed"]) == ("DONE", each * len(others))
    rows = peers.query("SELECT device_id, seq FROM telemetry WHERE tenant_id = %s", tenant_id)
    assert sorted(rows) == sorted((f"d{n // each}", n) for n in range(each * devices))
    statuses = peers.query(
        "SELECT status, count(*) FROM quarantine_events WHERE tenant_id = %s GROUP BY status", tenant_id
    )
    assert statuses == [("REPLAYED", each * len(others))]
    assert peers.query("SELECT active_device_count FROM subscriptions WHERE tenant_id = %s", tenant_id) == [(devices,)]
    look(peers.conninfo)


async def test_a_change_by_hand_takes_effect_in_every_process_within_a_second(peers: Peers) -> None:
    tenant_id, device = "changed", "d"
    secret = peers.tenant(tenant_id, seats=5)["password"]
    path = f"/ingest/tenant/{tenant_id}/device/{device}/telemetry"
    reactivate = (
        "UPDATE device_registry AS d SET status = 'ACTIVE', subscription_id = s.subscription_id"
        " FROM subscriptions AS s WHERE s.tenant_id = d.tenant_id AND d.tenant_id = %s"
    )
    changes = [
        ("UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL WHERE tenant_id = %s", 403),
        (reactivate, 202),
        (
            "UPDATE subscriptions SET term_start = '2020-01-01', term_end = '2020-02-01' WHERE tenant_id = %s",
            402,
        ),
        ("UPDATE subscriptions SET term_end = '2100-01-01' WHERE tenant_id = %s", 202),
        ("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = %s", 403),
        ("UPDATE tenants SET status = 'ACTIVE' WHERE tenant_id = %s", 202),
        ("UPDATE device_registry SET rate = 0.001, burst = 1 WHERE tenant_id = %s", 429),
        ("UPDATE device_registry SET rate = NULL, burst = NULL WHERE tenant_id = %s", 202),
    ]
    callers = [Caller(process, secret) for process in peers]
    for caller in callers:
        assert (await caller.post(path, b'{"temperature":1}')).status == 202  # and now it is remembered
    for statement, expected in changes:
        peers.query(f"{statement} RETURNING 1", tenant_id)
        await answered(callers, path, expected, statement)


async def answered(callers: Sequence[Caller], path: str, expected: int, why: str) -> None:
    """Return once each process answers a message so, which it does within a second."""
    changed = trio.current_time()
    for caller in callers:
        asked = trio.current_time()
        while (status := (await caller.post(path, b'{"temperature":1}')).status) != expected:
            assert asked < changed + within(1.0), f"still {status} a second after {why}"
            asked = trio.current_time()


async def done_here(peers: Peers, act: Callable[[Connection[Any], ChangeContext], Awaitable[T]]) -> T:
    """Do something in this process, which is none of the appliances."""
    now = datetime.now(UTC)
    async with await connect(peers.processes[0].conninfo()) as connection:
        return await act(connection, replace(BY, now=now, settled=now))


async def renew_here(peers: Peers, tenant_id: str, request: Request, key: str) -> Answer | None:
    """Renew in this process; None if other devices, or none, must be named by now."""
    try:
        done = await done_here(
            peers, lambda c, by: renew(c, tenant_id, request, by, key=key, policy=POLICY, trusted=True)
        )
    except Invalid:
        return None
    return done.answer


async def test_a_renewal_takes_effect_in_every_process_within_a_second(peers: Peers) -> None:
    """By another process and by a manual transaction; over HTTP and MQTT."""
    tenant_id, device = "lapsed", "d"
    secret = peers.tenant(tenant_id, seats=5)["password"]
    path = f"/ingest/tenant/{tenant_id}/device/{device}/telemetry"
    callers = [Caller(process, secret) for process in peers]
    for caller in callers:
        assert (await caller.post(path, b'{"temperature":1}')).status == 202
    [(subscription,)] = peers.query("SELECT subscription_id FROM subscriptions WHERE tenant_id = %s", tenant_id)
    expire = (
        "UPDATE subscriptions SET term_start = '2020-01-01', term_end = '2020-02-01' WHERE tenant_id = %s RETURNING 1"
    )
    by_hand = "UPDATE subscriptions SET term_end = '2100-01-01' WHERE tenant_id = %s RETURNING 1"
    async with fleet(peers, tenant_id) as send:
        for number, statement in enumerate((None, by_hand)):
            peers.query(expire, tenant_id)
            await answered(callers, path, 402, "the term has ended")
            if statement is None:
                assert await renew_here(peers, tenant_id, Request(subscription, 30), "key") is not None
            else:
                peers.query(statement, tenant_id)
            await answered(callers, path, 202, "the renewal")
            base = int(time.time() * 1000) - 60_000
            await send(device, 4 * number, base)
            stored = "SELECT count(*) FROM telemetry WHERE tenant_id = %s AND seq IS NOT NULL"
            with trio.fail_after(PATIENCE_SECONDS):
                while peers.query(stored, tenant_id) != [(4 * (number + 1),)]:
                    await trio.sleep(0.02)


@repeated
async def test_renewals_among_first_messages_over_http_and_mqtt(peers: Peers, repetition: int) -> None:
    """More seats and fewer, a deactivation and an import, while new devices announce themselves everywhere."""
    tenant_id, known, new, each = f"renewed-{repetition}", 8, 24, 4
    peers.tenant(tenant_id, seats=12)
    base = int(time.time() * 1000) - 60_000
    answers: list[Answer] = []
    before = look(peers.conninfo)

    async def renewing(request: Request, key: str) -> None:
        answer = await renew_here(peers, tenant_id, request, key)
        if answer is not None:
            answers.append(answer)

    async def fewer(subscription: str, device: str, key: str) -> None:
        """Give up one seat, and the device on it; others may take seats in between, and then it is refused."""
        count = "SELECT active_device_count FROM subscriptions WHERE tenant_id = %s"
        [(taken,)] = await trio.to_thread.run_sync(peers.query, count, tenant_id)
        await renewing(Request(subscription, 30, taken - 1, devices_to_deactivate=(device,), again=True), key)

    async with watching_accounting(lambda: peers.conninfo), fleet(peers, tenant_id) as send:
        async with trio.open_nursery() as nursery:
            for number in range(known):
                nursery.start_soon(send, f"k{number}", each * number, base)
        await received(peers, before.received + each * known)
        [(subscription,)] = peers.query("SELECT subscription_id FROM subscriptions WHERE tenant_id = %s", tenant_id)
        async with trio.open_nursery() as nursery:
            for number in range(known - 2, known + new):
                name = f"d{number}" if number >= known else f"k{number}"
                nursery.start_soon(send, name, each * (number + 2), base)
            for number in range(10):
                nursery.start_soon(renewing, Request(subscription, 365, again=True), "the same")
                nursery.start_soon(
                    renewing, Request(subscription, 90, 14 + number % 3, again=True), f"more-{number % 3}"
                )
            nursery.start_soon(done_here, peers, lambda c, by: seats_changes.deactivate(c, tenant_id, "k3", by))
            listed = [NewDevice(name) for name in ("x1", "d9", "d8", "k1")]
            nursery.start_soon(done_here, peers, lambda c, by: import_many(c, tenant_id, listed, by, grace=GRACE))
            for number in range(3):
                nursery.start_soon(fewer, subscription, f"k{number}", f"fewer-{number}")
        await received(peers, before.received + each * (known + new + 2))
    by_end = {answer.new_term_end: answer for answer in answers}
    assert len(by_end) >= 2, "renewals of the same key, and at least one with more seats"
    with psycopg.connect(peers.conninfo) as watcher:
        check_family(watcher, tenant_id, by_end.values())
    rows = peers.query("SELECT device_id, seq FROM telemetry WHERE tenant_id = %s", tenant_id)
    held = peers.query("SELECT device_id FROM quarantine_events WHERE tenant_id = %s", tenant_id)
    assert len(set(rows)) == len(rows)
    assert len(rows) + len(held) == each * (known + new + 2), "each message is in one place"
    assert not [device for (device,) in held if device.startswith("k")], "known devices keep their seats"


MESSAGES = soak.times(5_000)
KILLS = soak.times(2)
NEW_DEVICES, FREE_SEATS, EACH = 30, 12, 4
SHARED = 200
"""Messages that are sent to both brokers."""


@dataclass
class Traffic:
    """What is sent to the two brokers while their appliances are killed."""

    peers: Peers
    tenant_id: str
    senders: tuple[Publisher, Publisher]
    enough: trio.Event

    @property
    def sent(self) -> set[Entry]:
        return self.senders[0].sent | self.senders[1].sent

    async def stream(self, place: int, through: Client) -> None:
        """Send without an end until it is enough, over one broker: ten devices of both, and some of one alone."""
        sender = self.senders[place]
        while not (self.enough.is_set() and len(self.sent) >= MESSAGES):
            await sender.send(through, 100)
            await trio.sleep(0.02)

    async def new_devices(self, place: int, through: Client, tenant_id: str, base: int) -> None:
        """Let more new devices announce themselves than there are seats, each over both brokers."""
        for number in range(EACH // 2):
            for device in range(NEW_DEVICES):
                seq = EACH * device + 2 * number + place
                await through.publish(f"tenant/{tenant_id}/device/n{device}/telemetry", message(seq, base))

    async def twice(self, through: Client, base: int) -> None:
        """Send messages that the other broker gets, too."""
        path = f"tenant/{self.tenant_id}/device/both/telemetry"
        await through.publish_many((path, message(number, base)) for number in range(SHARED))


async def test_whoever_of_two_is_killed_nothing_is_lost_doubled_or_seated_twice(peers: Peers) -> None:
    """Each has its own broker; their devices are partly the same, and some come for the last seats."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    tenant_id, rush, now = "killed", "killed-rush", int(time.time()) * 1000
    peers.tenant(tenant_id, seats=100)
    peers.tenant(rush, seats=FREE_SEATS)
    senders = Publisher(tenant_id, now - 3_600_000, devices=10), Publisher(tenant_id, now - 1_800_000, devices=14)
    traffic = Traffic(peers, tenant_id, senders, trio.Event())
    async with (
        watching_accounting(lambda: peers.conninfo),
        client(peers.processes[0], "killed-0", tenant_id) as first,
        client(peers.processes[1], "killed-1", tenant_id) as second,
        client(peers.processes[0], "rush-0", rush) as first_rush,
        client(peers.processes[1], "rush-1", rush) as second_rush,
        trio.open_nursery() as nursery,
    ):
        for place, (through, rushing) in enumerate(((first, first_rush), (second, second_rush))):
            nursery.start_soon(traffic.stream, place, through)
            nursery.start_soon(traffic.new_devices, place, rushing, rush, now - 60_000)
            nursery.start_soon(traffic.twice, through, now - 7_200_000)
        for number in range(KILLS):
            await flowing(victim := peers.processes[number % 2])
            await trio.sleep(chance.random() * 0.3)
            victim.kill() if chance.random() < 0.5 else await kill_with_a_batch_in_flight(victim)
            await trio.to_thread.run_sync(victim.start)
        traffic.enough.set()
    rows = "SELECT device_id, (extract(epoch FROM ts) * 1000)::bigint, seq FROM telemetry WHERE tenant_id = %s"
    with trio.fail_after(within(PATIENCE_SECONDS)):
        while len(found := peers.query(rows, tenant_id)) < len(traffic.sent) + SHARED:
            await trio.sleep(0.1)
    both = {("both", now - 7_200_000 + number, number) for number in range(SHARED)}
    assert len(found) == len(set(found)), f"seed {seed}"
    assert set(found) == traffic.sent | both, f"seed {seed}"

    seated = {device for (device,) in peers.query("SELECT device_id FROM device_registry WHERE tenant_id = %s", rush)}
    assert len(seated) == FREE_SEATS, f"seed {seed}"
    kept = Counter(device for (device,) in peers.query("SELECT device_id FROM telemetry WHERE tenant_id = %s", rush))
    assert kept == dict.fromkeys(seated, EACH), f"seed {seed}"
    ledger = "SELECT sum(duplicate)::int, sum(refused)::int FROM ingest_ledger WHERE tenant_id = %s"
    [(duplicate, _)], [(_, refused)] = peers.query(ledger, tenant_id), peers.query(ledger, rush)
    assert duplicate >= SHARED
    assert refused >= EACH * (NEW_DEVICES - FREE_SEATS)
    look(peers.conninfo)
    examined = json.loads(peers.processes[0].invoke("doctor", "--json").stdout)
    broken = {check["name"] for check in examined["checks"] if check["status"] == "broken"}
    assert broken <= OF_THIS_SERVER, examined
