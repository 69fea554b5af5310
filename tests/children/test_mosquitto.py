"""The embedded Mosquitto, for real: devices are let in only when their messages have somewhere to go."""

import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import trio
import trio.testing
from mqtt5 import QoS
from structlog.testing import capture_logs

from appliance.broker.accounts import hash_password
from appliance.broker.clients import SUBSCRIPTION
from appliance.children.data_dir import DataDir, open_data_dir
from appliance.children.keeper import Patience
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import Users
from appliance.children.polling import until
from appliance.children.programs import find_mosquitto
from appliance.errors import ApplianceError
from appliance.mqtt.client import Client
from tests.support.busy import within
from tests.support.embedded_broker import DEVICE, PASSWORD, TOPIC, USERS, broker, running, user
from tests.support.small_volume import MB, small_volume

pytestmark = pytest.mark.real


async def call(*argv: str) -> "subprocess.CompletedProcess[bytes]":
    with trio.fail_after(60):
        return await trio.run_process(argv, check=False, capture_stdout=True, capture_stderr=True)


async def receive(mosquitto: Mosquitto, data_dir: DataDir, *options: str) -> list[str]:
    """Come as the appliance, subscribe durably, take what is queued."""
    endpoint = mosquitto.endpoint
    who = ("-u", endpoint.username, "-P", endpoint.password, "-i", data_dir.instance.mqtt_client_id)
    session = ("-V", "5", "-c", "-x", "4294967295", "-q", "1", "-t", SUBSCRIPTION)
    done = await call("mosquitto_sub", "--unix", str(endpoint.socket), *who, *session, *options)
    assert done.returncode in {0, 27}, done.stderr  # 27: -W ran out
    return done.stdout.decode().split()


async def publish(
    mosquitto: Mosquitto, payload: str, password: str = PASSWORD, topic: str = TOPIC, *, username: str = DEVICE
) -> int:
    where = ("-h", mosquitto.devices.host, "-p", str(mosquitto.devices.port))
    who = ("-u", username, "-P", password, "-i", "d1", "-V", "5")
    return (await call("mosquitto_pub", *where, *who, "-q", "1", "-t", topic, "-m", payload)).returncode


def reachable(mosquitto: Mosquitto) -> bool:
    try:
        socket.create_connection((mosquitto.devices.host, mosquitto.devices.port)).close()
    except ConnectionRefusedError:
        return False
    return True


def connect_3_1_1(mosquitto: Mosquitto, keep_alive: int) -> bytes:
    """Connect as a device that speaks MQTT 3.1.1; return the CONNACK."""
    level, flags = 4, 0b1100_0010  # user, password, clean session
    fields = [b"d1", DEVICE.encode(), PASSWORD.encode()]
    body = b"\x00\x04MQTT" + bytes([level, flags]) + keep_alive.to_bytes(2)
    body += b"".join(len(field).to_bytes(2) + field for field in fields)
    with socket.create_connection((mosquitto.devices.host, mosquitto.devices.port), timeout=30) as connection:
        connection.sendall(b"\x10" + bytes([len(body)]) + body)
        return connection.recv(4)


async def let_devices_in(mosquitto: Mosquitto, data_dir: DataDir) -> None:
    assert await receive(mosquitto, data_dir, "-E") == []
    assert await mosquitto.open_devices()


async def test_with_bound_client_ids_a_client_ends_connections_of_its_own_user_alone(folder: Path) -> None:
    other = "globex/device/x"
    users = Users(f"{USERS.passwords}{other}:{hash_password(PASSWORD)}\n")
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir, users=users, bind_client_ids=True)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            port = mosquitto.devices.port
            chosen = Client("127.0.0.1", port, identifier="d1", username=DEVICE, password=PASSWORD, reconnect=False)
            async with chosen as device:
                assert await publish(mosquitto, "1", topic=f"tenant/{other}/telemetry", username=other) == 0
                await device.publish(TOPIC, b"2", qos=QoS.AT_LEAST_ONCE)
                assert await publish(mosquitto, "3") == 0
                with trio.fail_after(60):
                    await device.disconnected()
            assert sorted(await receive(mosquitto, data_dir, "-W", "1")) == ["1", "2", "3"]


async def test_a_device_may_ask_for_any_keep_alive_and_for_none(folder: Path) -> None:
    accepted = bytes([0x20, 2, 0, 0])
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            for seconds in (0, 60, 301, 65535):
                assert await trio.to_thread.run_sync(connect_3_1_1, mosquitto, seconds) == accepted, seconds


async def test_devices_are_shut_out_until_the_subscription_is_in_the_store(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            assert not reachable(mosquitto)
            assert not await mosquitto.open_devices()  # nobody has subscribed
            assert not reachable(mosquitto)
            await let_devices_in(mosquitto, data_dir)
            assert reachable(mosquitto)
            assert await publish(mosquitto, "1") == 0
            pid = mosquitto.status.pid
            assert await mosquitto.open_devices()
            assert mosquitto.status.pid == pid  # no second restart
            assert await receive(mosquitto, data_dir, "-C", "1") == ["1"]
            assert mosquitto.status.restarts == 0


async def test_passwords_and_topics_are_enforced(folder: Path) -> None:
    lines: list[str] = []
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir, on_line=lines.append)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            assert await publish(mosquitto, "1") == 0
            assert await publish(mosquitto, "2", password="wrong") != 0
            with trio.fail_after(60):
                await until(lambda: any(line.endswith("not authorised.") for line in lines), period=0.005)
            await publish(mosquitto, "3", topic="tenant/acme/device/d2/telemetry")
            assert await receive(mosquitto, data_dir, "-C", "2", "-W", "1") == ["1"]
            await mosquitto.write(users=user("rotated"))
            assert await publish(mosquitto, "not read yet") == 0
            assert await mosquitto.reload()
            assert await publish(mosquitto, "4", password="rotated") == 0
            assert await publish(mosquitto, "5") != 0
        assert not any(data_dir.instance.mqtt_client_id in line for line in lines)
        for name in ("passwd", "acl", "mosquitto.conf"):
            assert (folder / "data" / "mosquitto" / name).stat().st_mode & 0o777 == 0o600
        assert mosquitto.endpoint.password not in repr(mosquitto.endpoint)


async def test_a_claim_user_may_not_speak_for_devices_with_a_credential(folder: Path) -> None:
    claim = f"acme:{hash_password('claim')}\n"
    writes = "user acme\ntopic write tenant/acme/device/+/telemetry\n"
    denied = Users(USERS.passwords + claim, writes + "topic deny tenant/acme/device/d1/#\n")
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir, users=denied)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            for topic in (TOPIC, "tenant/acme/device/new/telemetry", "tenant/other/device/d1/telemetry"):
                await publish(mosquitto, topic.split("/")[3], "claim", topic, username="acme")
            assert await publish(mosquitto, "own") == 0
            assert await receive(mosquitto, data_dir, "-C", "3", "-W", "1") == ["new", "own"]
            await mosquitto.write(users=Users(USERS.passwords + claim, writes))
            assert await mosquitto.reload()
            assert await publish(mosquitto, "d1", "claim", username="acme") == 0
            assert await receive(mosquitto, data_dir, "-C", "1") == ["d1"]


async def test_a_reload_drops_who_is_gone_and_nobody_else(folder: Path) -> None:
    others = "".join(f"acme/device/d{number}:{hash_password(PASSWORD)}\n" for number in range(2, 5))
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir, users=Users(USERS.passwords + others))) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            async with contextlib.AsyncExitStack() as stack:
                device = functools.partial(Client, mosquitto.devices.host, mosquitto.devices.port, reconnect=False)
                connected = [
                    await stack.enter_async_context(device(username=f"acme/device/d{number}", password=PASSWORD))
                    for number in range(1, 5)
                ]
                await mosquitto.write(users=Users(others))
                began = trio.current_time()
                assert await mosquitto.reload()
                await connected[0].disconnected()
                assert trio.current_time() - began < within(1)
                for other in connected[1:]:
                    await other.publish("tenant/acme/device/x/telemetry", b"", qos=QoS.AT_MOST_ONCE)
                assert [client.is_connected for client in connected] == [False, True, True, True]
            assert mosquitto.reloads == 1


async def test_a_reload_of_a_broker_that_is_down_is_none(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        mosquitto = broker(data_dir)
        await mosquitto.write(users=user("written before the start"))
        assert not await mosquitto.reload()
        async with running(mosquitto):
            await let_devices_in(mosquitto, data_dir)
            assert await publish(mosquitto, "1", "written before the start") == 0
            pid = mosquitto.status.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:

                async def reload() -> None:
                    assert not await mosquitto.reload()

                nursery.start_soon(reload)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(pid, signal.SIGKILL)


async def test_a_reload_while_a_restored_session_is_away_loses_messages(folder: Path) -> None:
    """Why nobody may do that: Mosquitto 2.0 takes the rights of a session that has come out of the store."""
    program = await find_mosquitto()
    if program.version >= (2, 1, 0):
        return  # may have been mended
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)  # which restarts the broker: the session is a restored one
            assert await mosquitto.reload()
            assert await publish(mosquitto, "lost") == 0
            assert await receive(mosquitto, data_dir, "-C", "1", "-W", "1") == []
            assert await mosquitto.reload()  # away again, but it has signed in since the start
            assert await publish(mosquitto, "kept") == 0
            assert await receive(mosquitto, data_dir, "-C", "1") == ["kept"]


async def test_a_talking_broker_names_denied_topics_and_the_log_stays_as_it_was(folder: Path) -> None:
    lines: list[str] = []
    with open_data_dir(folder / "data") as data_dir, capture_logs() as logged:
        async with running(broker(data_dir, on_line=lines.append)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            await mosquitto.write(debug_logging=True)
            assert await mosquitto.reload()
            await publish(mosquitto, "x", topic="tenants/acme/device/d1/telemetry")
            with trio.fail_after(60):
                await until(lambda: any(line.startswith("Denied PUBLISH from d1 (") for line in lines), period=0.005)
            await mosquitto.write(debug_logging=False)
            assert await mosquitto.reload()
            lines.clear()
            await publish(mosquitto, "x", topic="tenants/acme/device/d1/telemetry")
            with trio.fail_after(60):
                await until(lambda: "Client d1 disconnected." in lines, period=0.005)
            assert not any(line.startswith(("Denied", "Sending", "Received")) for line in lines)
        said = [str(entry.get("line")) for entry in logged]
        assert not [line for line in said if line.startswith(("Denied", "Sending", "Received")) or " d1 " in line]


async def test_a_clean_restart_keeps_queue_and_listener_open(folder: Path) -> None:
    """Also what per_listener_settings would break: messages for an absent session, after a restart of the broker."""
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            assert await publish(mosquitto, "before") == 0
        async with running(broker(data_dir)) as mosquitto:
            assert mosquitto.devices_open
            assert await publish(mosquitto, "after") == 0
            assert await receive(mosquitto, data_dir, "-C", "2") == ["before", "after"]


async def test_after_a_kill_devices_wait_for_the_subscription(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            pid = mosquitto.status.pid
            assert pid is not None
            os.kill(pid, 9)
            with trio.fail_after(60):
                await until(lambda: mosquitto.status.restarts > 0, period=0.005)
                await mosquitto.ready.wait()
            assert not mosquitto.devices_open
            assert not reachable(mosquitto)
            await let_devices_in(mosquitto, data_dir)
            assert reachable(mosquitto)


async def test_a_broker_that_somebody_stops_comes_back_open_with_its_queue(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            assert await publish(mosquitto, "kept") == 0
            pid = mosquitto.status.pid
            assert pid is not None
            os.kill(pid, 15)
            with trio.fail_after(60):
                await until(lambda: mosquitto.status.restarts > 0, period=0.005)
                await mosquitto.ready.wait()
            assert mosquitto.devices_open
            assert await receive(mosquitto, data_dir, "-C", "1") == ["kept"]


@pytest.mark.parametrize("damage", ["garbage", "cut", "gone", "empty"])
async def test_with_a_damaged_store_devices_wait(folder: Path, damage: str) -> None:
    store = folder / "data" / "mosquitto" / "mosquitto.db"
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
        whole = store.read_bytes()
        changed = {"garbage": b"\xff" * 4096, "cut": whole[: len(whole) // 2], "empty": b""}
        if damage == "gone":
            store.unlink()
        else:
            store.write_bytes(changed[damage])
        async with running(broker(data_dir)) as mosquitto:
            assert not mosquitto.devices_open
            assert not reachable(mosquitto)
            await let_devices_in(mosquitto, data_dir)
            assert mosquitto.stores_lost == 1
        aside = [path.read_bytes() for path in store.parent.glob("mosquitto.db.broken-*")]
        # Of a store that was cut off the broker may read what it can.
        assert aside == [changed["garbage"]] if damage == "garbage" else aside in ([], [changed.get(damage)])


async def test_devices_are_shut_out_again_when_the_session_is_gone(folder: Path) -> None:
    with open_data_dir(folder / "data") as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)
            await mosquitto.close_devices()
            assert not mosquitto.devices_open
            assert not reachable(mosquitto)
            await let_devices_in(mosquitto, data_dir)
            assert reachable(mosquitto)


async def test_a_taken_port_names_its_owner_before_anything_starts(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, open_data_dir(folder / "data") as data_dir:
        port = server.getsockname()[1]
        with pytest.raises(ApplianceError, match=rf"Port {port} is in use by .* \(pid {os.getpid()}\)"):
            await broker(data_dir, port=port).run()
        assert not (folder / "data" / "mosquitto").exists()


async def test_for_debians_own_broker_there_are_two_ways_out(folder: Path) -> None:
    program = await find_mosquitto()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    other = await trio.to_thread.run_sync(_start_other, program.path, port)
    try:
        with open_data_dir(folder / "data") as data_dir, pytest.raises(ApplianceError) as caught:
            await broker(data_dir, port=port).run()
    finally:
        other.terminate()
        other.communicate()
    message = str(caught.value)
    assert re.search(rf"Port {port} is in use by \S*mosquitto -p {port} \(pid {other.pid}\)", message)
    assert "`systemctl disable --now mosquitto`" in message
    assert "broker.port" in message


def _start_other(program: Path, port: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([program, "-p", str(port)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"running" in line:
            break
    return process


async def test_frozen_it_is_found_by_asking_it_and_started_again(data_path: Path) -> None:
    patience = Patience(ask=0.05, slow=0.2, hang=1.5)
    with open_data_dir(data_path) as data_dir:
        async with running(broker(data_dir, patience=patience)) as mosquitto:
            before = mosquitto.status.pid
            assert before is not None
            await trio.sleep(0.3)  # several questions
            assert not mosquitto.silent
            os.kill(before, signal.SIGSTOP)
            with trio.fail_after(within(15)):
                await until(lambda: mosquitto.silent, period=0.01)
                await until(lambda: mosquitto.status.restarts == 1 and mosquitto.ready.is_set(), period=0.01)
            assert mosquitto.status.pid != before
            assert not Path(f"/proc/{before}").exists()


async def test_a_queue_that_cannot_be_saved_is_said_and_a_stop_does_not_call_the_older_store_complete(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The way into a namespace goes through a link of a process, which must not be resolved.
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    with small_volume(folder / "data", 8 * MB) as volume, open_data_dir(volume.path) as data_dir:
        async with running(broker(data_dir)) as mosquitto:
            await let_devices_in(mosquitto, data_dir)

            def says(unsaved: bool) -> bool:
                mosquitto.save()
                return (mosquitto.unsaved is not None) is unsaved

            for full in (True, False, True):
                volume.fill(0) if full else volume.clear()
                with trio.fail_after(60):
                    await until(functools.partial(says, full), period=0.05)
            assert not list((volume.path / "mosquitto").glob("*.new")), "its room is needed"
        assert not (volume.path / "broker-saved.json").exists()
