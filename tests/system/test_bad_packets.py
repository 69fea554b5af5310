"""What no MQTT client should send, at the broker's door: it costs whoever sent it, and nobody else."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import trio

from appliance.broker.client_ids import REPEATS
from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.db.trio_psycopg import connect as connect_to_database
from appliance.devices.credentials import credential
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.device import NewDevice
from appliance.devices.seats import changes
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.busy import within
from tests.support.http_caller import Caller
from tests.support.processes import child
from tests.support.publisher import TENANT, client
from tests.support.tenants import GRACE
from tests.system.bad_packets import Fate, cases, connect, publish

PATIENCE_SECONDS = 60.0
WAIT_SECONDS = 0.05
GOOD = b'{"temperature":21.5}'
CROWD = 200


@pytest.fixture(scope="module")
def serving() -> Iterator[ApplianceProcess]:
    with started() as process:
        process.tenant(TENANT)
        yield process
        assert process.process is not None
        assert process.process.poll() is None, "it ended"
        log = process.log.read_text()
        assert "Traceback" not in log, log[-6000:]
        identity = json.loads((process.data_dir / "instance.json").read_text())
        assert identity["mqtt_client_id"] not in log, "M22: who knows it can take our session over"


def topic(device: str) -> bytes:
    return f"tenant/{TENANT}/device/{device}/telemetry".encode()


def login(serving: ApplianceProcess) -> tuple[bytes, bytes]:
    user = serving.tenant(TENANT)
    return user["username"].encode(), user["password"].encode()


async def dial(serving: ApplianceProcess, source: str | None = None) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", serving.mqtt_port, local_address=source)


async def hear_out(stream: trio.SocketStream) -> bytes:
    """All that the broker says until it hangs up."""
    heard = bytearray()
    with trio.fail_after(PATIENCE_SECONDS):
        try:
            async for chunk in stream:
                heard += chunk
        except trio.BrokenResourceError:
            pass
    return bytes(heard)


async def stored(serving: ApplianceProcess, device: str, count: int) -> None:
    statement = "SELECT count(*) FROM telemetry WHERE device_id = %s"
    with trio.fail_after(PATIENCE_SECONDS):
        while await trio.to_thread.run_sync(serving.query, statement, device) != [(count,)]:
            await trio.sleep(0.02)


async def test_malformed_packets_cost_their_connection_and_nothing_else(serving: ApplianceProcess) -> None:
    username, password = login(serving)
    wrong = list(cases(username, password, topic("packets")))
    async with client(serving, "sound") as sound:
        for case in wrong:
            async with await dial(serving) as stream:
                if not case.first:
                    await stream.send_all(connect(username, password))
                    assert (await stream.receive_some())[0] == 0x20, case.name
                await stream.send_all(case.sent)
                if case.fate is Fate.CLOSED:
                    answer = await hear_out(stream)
                    assert not answer or answer[0] in (0x20, 0xE0), (case.name, answer)
                    assert answer[3:4] != b"\x00" or answer[:1] != b"\x20", (case.name, "it was let in")
                elif case.fate is Fate.WAITS:
                    with trio.move_on_after(WAIT_SECONDS) as patience:
                        await stream.receive_some()
                    assert patience.cancelled_caught, case.name
                await sound.publish(topic("sound").decode(), GOOD)
        await stored(serving, "sound", len(wrong))
    # M14: one of them is a good reading, where the broker does not mind what else is in it.
    minded = serving.query("SELECT count(*) FROM telemetry WHERE device_id = 'packets'")[0][0]
    accounting = look(serving.conninfo())
    assert (accounting.received, accounting.refused) == (len(wrong) + minded, 0)


async def test_a_crowd_that_says_nothing_keeps_nobody_out(serving: ApplianceProcess) -> None:
    """M24: silence, one byte, half a CONNECT; M30: QoS 2 that is begun again and again."""
    username, password = login(serving)
    whole = connect(username, password)
    crowd = []
    try:
        for number in range(CROWD):
            stream = await dial(serving)
            crowd.append(stream)
            await stream.send_all((b"", whole[:1], whole[: len(whole) // 2])[number % 3])
        async with await dial(serving) as endless:
            await endless.send_all(whole)
            await endless.receive_some()
            with contextlib.suppress(trio.BrokenResourceError):  # it may have had enough of it
                for _ in range(100):
                    await endless.send_all(publish(topic("endless"), first=0x34) * 100)
                    await endless.receive_some()
            began = trio.current_time()
            async with client(serving, "real") as real:
                await real.publish(topic("real").decode(), GOOD)
            assert trio.current_time() - began < within(5)
        await stored(serving, "real", 1)
    finally:
        for stream in crowd:
            await stream.aclose()
    assert serving.query("SELECT 1 FROM telemetry WHERE device_id = 'endless'") == [], "never released"


async def test_a_retained_message_is_a_reading_once(serving: ApplianceProcess) -> None:
    """M26: we come back to the broker, and are not sent it again."""
    async with client(serving, "keeper") as keeper:
        await keeper.publish(topic("retained").decode(), b'{"a":1}', retain=True)
        await stored(serving, "retained", 1)
        os.kill(child(serving, "mosquitto"), signal.SIGTERM)
        await keeper.disconnected()
        await keeper.publish(topic("retained").decode(), b'{"a":2}')
    await stored(serving, "retained", 2)


async def test_the_broker_sets_a_keep_alive_of_five_minutes_at_most(serving: ApplianceProcess) -> None:
    """M25: a device that asks for none, or for a day, is told (Server Keep Alive, property 0x13)."""
    for wanted in (0, 65535):
        async with await dial(serving) as stream:
            await stream.send_all(connect(*login(serving), keep_alive=wanted))
            answer = await stream.receive_some()
            assert (answer[0], answer[3]) == (0x20, 0)
            assert b"\x13" + (300).to_bytes(2, "big") in answer


async def test_whoever_is_refused_is_told_one_thing_and_counted_by_where_it_came_from(
    serving: ApplianceProcess,
) -> None:
    """M21: no user, no password, a wrong one, an unknown user, the password of another, a device that was revoked."""
    by = ChangeContext(Actor("test", ActorKind.COMMAND), datetime.now(UTC), datetime.now(UTC), user_id=None)
    async with await connect_to_database(serving.conninfo()) as connection:
        for device in ("one", "two", "gone"):
            await changes.create(connection, TENANT, NewDevice(device), by, grace=GRACE)
        gone, one, two = await credential.create_many(connection, TENANT, ["gone", "one", "two"], by)
        await changes.revoke(connection, TENANT, "gone", by)
    wrong = [
        (None, None),
        (one.username, None),
        (one.username, "wrong"),
        (one.username, two.password),
        (one.username, one.token),
        ("nobody", one.password),
        (f"{TENANT}/device/never", one.password),
        (gone.username, gone.password),
        ("appliance", one.password),
        (TENANT, one.password),
    ]
    with trio.fail_after(PATIENCE_SECONDS):  # the broker knows them, and the one no longer
        while not await lets_in(serving, two) or await lets_in(serving, gone):
            await trio.sleep(0.1)
    before = refusals(serving)
    answers = set()
    for username, password in wrong:
        async with await dial(serving, "127.0.0.2") as stream:
            await stream.send_all(connect(encoded(username), encoded(password)))
            answers.add(await hear_out(stream))
    [answer] = answers
    assert answer[0] == 0x20
    assert answer[3] in (0x86, 0x87)
    with trio.fail_after(PATIENCE_SECONDS):
        while refusals(serving) < before + len(wrong):
            await trio.sleep(0.02)
    serving.command("user", "add", "olga@example.org", "--role", "operator")
    token = serving.command("token", "add", "olga@example.org")["token"]
    found = await Caller(serving, token).post("/customer/quarantine/door", method="GET")
    assert found.status == 200, found
    times = {(row["cause"], row["address"]): row["times"] for row in found.json()}
    assert times["sign_in", "127.0.0.2"] == len(wrong)


async def test_a_tenant_that_takes_the_client_id_of_anothers_device_is_shut_out_and_shown(
    serving: ApplianceProcess,
) -> None:
    """The id is the full user name of the device, which stays in; whoever takes it is told on, to operators by name."""
    owner = serving.command("device", "add", TENANT, "owner")
    thief = serving.tenant("rival")
    taken = owner["username"]

    def device(user: str, password: str) -> Client:
        address = ("127.0.0.1", serving.mqtt_port)
        return Client(*address, identifier=taken, username=user, password=password, reconnect=False)

    for _ in range(REPEATS):
        async with device(taken, owner["password"]) as robbed, device(thief["username"], thief["password"]) as stealing:
            await robbed.disconnected()
    with trio.fail_after(PATIENCE_SECONDS):
        await stealing.disconnected()
        while await taken_in(device(thief["username"], thief["password"])):
            await trio.sleep(0.05)
    async with device(taken, owner["password"]) as kept:
        await kept.publish(topic("owner").decode(), GOOD)
    serving.command("user", "add", "otto@example.org", "--role", "operator")
    operator = Caller(serving, serving.command("token", "add", "otto@example.org")["token"])
    (shared,) = (await operator.post("/operator/system", method="GET")).json()["shared_client_ids"]
    assert (shared["client_id"], shared["users"], shared["times"]) == (taken, [taken, "rival"], REPEATS)
    assert shared["shut_out_until"] is not None
    told = (await operator.post(f"/customer/quarantine/door?tenant={TENANT}&device=owner", method="GET")).json()
    assert [(one["cause"], one["username"]) for one in told] == [("client_id", taken)]
    assert "rival" not in str(told)
    assert f'appliance_client_id_takeovers_total{{users="tenants"}} {REPEATS}.0' in serving.get("/metrics").decode()
    with trio.fail_after(PATIENCE_SECONDS):
        while not serving.query("SELECT 1 FROM fleet_alert WHERE fingerprint LIKE 'system:client_ids:%%'"):
            await trio.sleep(0.1)


async def taken_in(client: Client) -> bool:
    """Whether the broker lets a client in."""
    try:
        async with client:
            return True
    except ConnectError:
        return False


def encoded(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


async def lets_in(serving: ApplianceProcess, issued: IssuedSecrets) -> bool:
    async with await dial(serving) as stream:
        await stream.send_all(connect(issued.username.encode(), issued.password.encode()))
        return (await stream.receive_some())[3] == 0


def refusals(serving: ApplianceProcess) -> int:
    """How many the broker has refused to let in."""
    pattern = r'^appliance_door_refusals_total{cause="sign_in"} (\S+)$'
    counted = re.search(pattern, serving.get("/metrics").decode(), re.MULTILINE)
    return 0 if counted is None else int(float(counted[1]))
