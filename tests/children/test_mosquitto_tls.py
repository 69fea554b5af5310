"""The embedded Mosquitto under TLS, for real: devices that know our authority come in, and stay when it renews."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from mqtt5 import QoS

from appliance.broker.clients import probe_clients
from appliance.broker.listener_certificate import ListenerCertificate
from appliance.broker.listener_probe import ListenerProbe
from appliance.broker.refusals import BrokerRefusal, RefusalLogReader
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits, DeviceListener, configuration
from appliance.children.mosquitto_program import UNKNOWN_VERSION
from appliance.children.polling import until
from appliance.children.programs import MosquittoProgram
from appliance.mqtt.client import Client
from appliance.mqtt.transport import Tcp, Tls
from tests.support.embedded_broker import DEVICE, PASSWORD, TOPIC, open_broker, own_session
from tests.support.own_tls import OwnAuthority, client_context, fingerprint_of, handshake, refusal

NAMES = ("localhost", "127.0.0.1")
PATIENCE_SECONDS = 60.0


@dataclass
class Serving:
    """A broker under TLS with its device listener open."""

    mosquitto: Mosquitto
    own: OwnAuthority
    session: Client

    @property
    def port(self) -> int:
        assert self.mosquitto.devices.tls_port is not None
        return self.mosquitto.devices.tls_port

    def device(self) -> Client:
        transport = Tls(Tcp("127.0.0.1", self.port), client_context(self.own.file), "127.0.0.1")
        return Client(transport=transport, username=DEVICE, password=PASSWORD, reconnect=False, clean_start=True)


@contextlib.asynccontextmanager
async def serving(folder: Path, *, plain: bool, on_line: Callable[[str], None] | None = None) -> AsyncIterator[Serving]:
    own = OwnAuthority(folder)
    certificate = own.issue(*NAMES)
    async with open_broker(folder, plain=plain, tls_port=0, certificate=certificate, on_line=on_line) as broker:
        yield Serving(broker.mosquitto, own, broker.session)


def test_the_listener_under_tls_is_one_more_with_the_same_limits() -> None:
    listener = DeviceListener("0.0.0.0", 1883, bind_client_ids=True, tls_port=8883)
    program = MosquittoProgram(Path("/usr/sbin/mosquitto"), (2, 0, 11), None)
    text = configuration(Path("/data/mosquitto"), Path("/run/x"), program, BrokerLimits(), listener)
    blocks = [block.split("\n")[:3] for block in text.split("\nlistener ")[1:]]
    limits = ["max_connections 10000", "use_username_as_clientid true"]
    assert blocks == [["1883 0.0.0.0", *limits], ["8883 0.0.0.0", *limits], ["0 /run/x/mosquitto.sock", ""]]
    assert "\nlistener 8883 0.0.0.0\n" in text
    assert text.index("tls_version tlsv1.2") > text.index("listener 8883")


@pytest.mark.real
async def test_devices_that_know_our_authority_publish_and_others_refuse_the_certificate(folder: Path) -> None:
    async with serving(folder, plain=True) as broker:
        for host in NAMES:
            assert await _published(broker, host, broker.own.file) == 0
        other = OwnAuthority(folder / "data")
        assert await _published(broker, "localhost", other.file) != 0
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(client_context(broker.own.file), "127.0.0.1", broker.port, "gw.local")


async def _published(broker: Serving, host: str, ca_file: Path) -> int:
    with trio.fail_after(PATIENCE_SECONDS):
        done = await trio.run_process(
            ["mosquitto_pub", "-h", host, "-p", str(broker.port), "--cafile", str(ca_file), "-u", DEVICE,
             "-P", PASSWORD, "-V", "5", "-q", "1", "-t", TOPIC, "-m", "1"],
            check=False,
            capture_stderr=True,
        )  # fmt: skip
    return done.returncode


@pytest.mark.real
async def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(folder: Path) -> None:
    async with serving(folder, plain=False) as broker:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            await trio.to_thread.run_sync(handshake, client_context(broker.own.file, version), "127.0.0.1", broker.port)
        for old in ("-tls1", "-tls1_1"):
            assert "alert protocol version" in await trio.to_thread.run_sync(refusal, broker.port, old)


@pytest.mark.real
async def test_without_plain_the_port_in_clear_text_is_closed_and_the_probe_comes_in_by_tls(folder: Path) -> None:
    async with serving(folder, plain=False) as broker:
        listener = broker.mosquitto.devices
        assert listener.main_port == broker.port
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", listener.port)
        ways = probe_clients(broker.mosquitto, "127.0.0.1")
        assert list(ways) == ["devices under TLS"]
        probe = ListenerProbe(ways, own_session(broker.mosquitto), 0.05)
        async with trio.open_nursery() as nursery:
            await nursery.start(probe.run)
            await _becomes(lambda: probe.arrived >= 3)
            assert probe.trouble is None
            await broker.mosquitto.close_devices()
            await _becomes(lambda: "devices under TLS cannot connect" in (probe.trouble or ""))
            nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_both_ways_in_are_probed(folder: Path) -> None:
    async with serving(folder, plain=True) as broker:
        ways = probe_clients(broker.mosquitto, "127.0.0.1")
        assert list(ways) == ["devices", "devices under TLS"]
        probe = ListenerProbe(ways, own_session(broker.mosquitto), 0.05)
        async with trio.open_nursery() as nursery:
            await nursery.start(probe.run)
            await _becomes(lambda: probe.arrived >= 4)
            assert probe.trouble is None
            nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_another_certificate_is_taken_without_an_end_of_connections(folder: Path) -> None:
    async with serving(folder, plain=True) as broker, trio.open_nursery() as nursery:
        file = folder / "leaf.pem"
        file.write_bytes(first := broker.own.issue(*NAMES, "192.0.2.7"))
        follow = ListenerCertificate(broker.mosquitto, file.read_bytes)
        await nursery.start(partial(follow.run, broker.session.ready))
        context = client_context(broker.own.file)
        await _serves(broker, context, first)
        async with broker.device() as device:
            file.write_bytes(second := broker.own.issue(*NAMES, "192.0.2.8"))
            follow.changed()
            await _serves(broker, context, second)
            await device.publish(TOPIC, b"still there", qos=QoS.AT_LEAST_ONCE)
            assert device.statistics().connections == 1
        async with broker.device() as device:
            await device.publish(TOPIC, b"by the new one", qos=QoS.AT_LEAST_ONCE)
        nursery.cancel_scope.cancel()


async def _serves(broker: Serving, context: ssl.SSLContext, pem: bytes) -> None:
    """Wait until new connections meet a certificate."""
    wanted = fingerprint_of(pem)
    with trio.fail_after(PATIENCE_SECONDS):
        while await trio.to_thread.run_sync(handshake, context, "127.0.0.1", broker.port) != wanted:
            await trio.sleep(0.02)


async def _becomes(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        await until(condition, period=0.01)


@pytest.mark.real
async def test_what_the_broker_says_of_a_failed_handshake_is_read(folder: Path) -> None:
    lines: list[str] = []
    async with serving(folder, plain=False, on_line=lines.append) as broker:
        other = OwnAuthority(folder / "data")
        with pytest.raises(ssl.SSLCertVerificationError):
            await trio.to_thread.run_sync(handshake, client_context(other.file), "127.0.0.1", broker.port)
        # One after the other: of several at once nobody knows which is meant.
        await _becomes(lambda: len(read_refusals(lines)) == 1)
        await trio.to_thread.run_sync(refusal, broker.port, "-tls1_1")
        await _becomes(lambda: len(read_refusals(lines)) == 2)
        async with await trio.open_tcp_stream("127.0.0.1", broker.port) as stream:
            await stream.send_all(UNKNOWN_VERSION)
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.receive_some(1)
        await _becomes(lambda: len(read_refusals(lines)) == 3)
    assert {one.address for one in read_refusals(lines)} == {"127.0.0.1"}


def read_refusals(lines: list[str]) -> list[BrokerRefusal]:
    reader = RefusalLogReader()
    return [one for line in lines if (one := reader.read(line, 0.0)) is not None and one.hint() is not None]
