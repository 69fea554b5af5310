"""A notice is published to real brokers, delivered means acknowledged, and every refusal has its outcome."""

import io
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from appliance.delivery.notices.body import body
from appliance.delivery.outgoing.network import NotAllowed, Unreached
from appliance.delivery.senders.masking import MASK
from appliance.delivery.senders.mqtt import SENDER
from appliance.delivery.senders.sender import Outcome, Target, Verdict
from appliance.errors import Invalid
from appliance.mqtt.client import Client
from tests.delivery.outgoing.inward import INWARD_HOSTS
from tests.delivery.senders.network import PATIENT, network
from tests.support.canary import canaries
from tests.support.certificates import Authority
from tests.support.http_sink import http_sink, silence
from tests.support.mosquitto_server import USER as BROKER_USER
from tests.support.mosquitto_server import MosquittoServer
from tests.support.notices import ACKNOWLEDGE_URL, alert_facts, notice
from tests.support.scripted_server import scripted_server

NAME = "receiver.test"
NAMES = {NAME: "127.0.0.1", "localhost": "127.0.0.1", "localhost.": "127.0.0.1"}
OPEN = network("127.0.0.0/8", names=NAMES)
HASTY = network("127.0.0.0/8", names=NAMES, deadlines=replace(PATIENT, write=0.2, read=0.6))
"""For silence alone: whoever answers is given time."""
CLOSED = network(names=NAMES)
USER, PASSWORD = "gateway", "kX9-planted-secret"
READER, READERS_PASSWORD = "reader", "reads-everything-here"


class Broker:
    """A broker with users, a list of who may publish what, and a listener with TLS."""

    def __init__(self, authority: Authority, *names: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="edge-mq-tls-", dir="/tmp"))
        self.folder.chmod(0o755)
        certificate, key = authority.certificate(*names).files(self.folder)
        access = self.folder / "access"
        access.write_text(f"user {USER}\ntopic write alerts/#\nuser {READER}\ntopic read #\n")
        for path in (certificate, key, access):
            path.chmod(0o600)
            if os.geteuid() == 0:  # the broker then runs as a user of its own
                shutil.chown(path, BROKER_USER, BROKER_USER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.tls_port: int = probe.getsockname()[1]
        listener = (f"listener {self.tls_port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}")
        users = {USER: PASSWORD, READER: READERS_PASSWORD}
        self.server = MosquittoServer(users=users, config=(f"acl_file {access}", *listener))

    def reader(self) -> Client:
        return Client("127.0.0.1", self.server.port, username=READER, password=READERS_PASSWORD, clean_start=True)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[Broker]:
    made = Broker(authority, NAME)
    with made.server:
        yield made
    shutil.rmtree(made.folder)


def _target(port: int, password: str | None = PASSWORD, **changes: Any) -> Target:
    config = {"host": NAME, "port": port, "tls": False, "topic": "alerts/{site_id}/{severity}"} | changes
    if password is not None:
        config["username"] = USER
    secrets = {} if password is None else {"password": password}
    return Target("acme", SENDER.validate(config, secrets), secrets)


def _holds_no_secret(outcome: Outcome) -> bool:
    return PASSWORD not in repr(outcome) and ACKNOWLEDGE_URL.rpartition("/")[2] not in repr(outcome)


async def test_a_notice_of_what_was_passed_on_counts_one_hop_more(broker: Broker) -> None:
    circling = notice(alert=alert_facts(details={"hop_count": 2}))
    async with broker.reader() as reader:
        await reader.subscribe("alerts/#")
        outcome = await SENDER.send(_target(broker.server.port), circling, OPEN)
        with trio.fail_after(10):
            message = await anext(aiter(reader.messages()))
    assert ("hop-count", "3") in message.packet.user_properties
    assert "hop-count: 3" in outcome.request


async def test_a_notice_is_published_with_its_id_and_delivered_means_acknowledged(broker: Broker) -> None:
    sample = notice()
    async with broker.reader() as reader:
        await reader.subscribe("alerts/#")
        outcome = await SENDER.send(_target(broker.server.port), sample, OPEN)
        with trio.fail_after(10):
            message = await anext(aiter(reader.messages()))
    packet = message.packet
    assert (outcome.verdict, outcome.error, outcome.may_have_arrived) == (Verdict.DELIVERED, None, False)
    assert (packet.topic, bytes(packet.payload)) == ("alerts/hall-2/critical", body(sample))
    assert packet.user_properties == [("message-id", str(sample.message_id)), ("hop-count", "1")]
    assert packet.content_type == "application/json"
    assert packet.message_expiry_interval in range(86_390, 86_401)
    assert not packet.retain
    assert (outcome.address, set(outcome.timings)) == ("127.0.0.1", {"name", "connect", "answer"})
    assert outcome.latency >= outcome.timings["answer"] > 0
    assert f"PUBLISH {packet.topic}" in outcome.request
    assert MASK in outcome.request
    assert _holds_no_secret(outcome)
    assert json.loads(bytes(packet.payload))["data"]["acknowledge_url"] == ACKNOWLEDGE_URL


async def test_a_notice_goes_by_tls_and_can_be_retained(broker: Broker, authority: Authority) -> None:
    target = _target(broker.tls_port, tls=True, ca=authority.pem, topic="alerts/kept", retain=True, expiry_seconds=0)
    outcome = await SENDER.send(target, notice(), OPEN)
    assert (outcome.verdict, outcome.error) == (Verdict.DELIVERED, None)
    assert "tls" in outcome.timings
    async with broker.reader() as reader:
        await reader.subscribe("alerts/kept")
        with trio.fail_after(10):
            message = await anext(aiter(reader.messages()))
    assert message.packet.retain
    assert message.packet.message_expiry_interval is None


async def test_a_certificate_of_an_unknown_ca_or_for_another_name_is_refused(
    broker: Broker, authority: Authority
) -> None:
    for changes in ({"ca": Authority().pem}, {"ca": authority.pem, "host": "127.0.0.1"}, {}):
        outcome = await SENDER.send(_target(broker.tls_port, tls=True, **changes), notice(), OPEN)
        assert outcome.verdict is Verdict.REFUSED
        assert "certificate" in (outcome.error or "")
        assert not outcome.may_have_arrived
    outcome = await SENDER.send(_target(broker.server.port, tls=True, ca=authority.pem), notice(), OPEN)
    assert outcome.verdict in {Verdict.REFUSED, Verdict.UNREACHED}  # Mosquitto hangs up on what is not MQTT


async def test_a_certificate_that_has_expired_is_refused_for_its_dates(authority: Authority) -> None:
    expired = authority.certificate("127.0.0.1", expired=True).server_context()
    async with http_sink(silence, expired) as sink:
        target = _target(sink.port, tls=True, ca=authority.pem, host="127.0.0.1")
        outcome = await SENDER.send(target, notice(), OPEN)
    assert (outcome.verdict, outcome.by_dates) == (Verdict.REFUSED, True), outcome


@pytest.mark.parametrize("password", ["not-this-one-either", None])
async def test_a_wrong_password_or_none_is_refused(broker: Broker, password: str | None) -> None:
    outcome = await SENDER.send(_target(broker.server.port, password), notice(), OPEN)
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.answer.startswith(b"CONNACK 0x8")
    assert "refused us" in (outcome.error or "")
    assert password is None or password not in repr(outcome)


async def test_secrets_are_in_no_line_of_the_log_at_debug_level(broker: Broker, debug_log: io.StringIO) -> None:
    for topic in ("alerts/a", "other/a"):
        target = _target(broker.server.port, topic=topic)
        outcome = await SENDER.send(target, notice(), OPEN)
        structlog.get_logger("test").error("tried", target=target, outcome=outcome, notice=notice(), sender=SENDER)
    lines = debug_log.getvalue()
    assert '"event": "tried"' in lines
    for secret in (PASSWORD, ACKNOWLEDGE_URL.rpartition("/")[2]):
        assert secret not in lines


async def test_a_topic_that_the_user_may_not_write_is_refused(broker: Broker) -> None:
    outcome = await SENDER.send(_target(broker.server.port, topic="other/alerts"), notice(), OPEN)
    assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.REFUSED, False)
    assert outcome.answer == b"PUBACK 0x87 not authorized"


async def test_a_topic_without_readers_is_delivered(broker: Broker) -> None:
    outcome = await SENDER.send(_target(broker.server.port, topic="alerts/nobody/reads"), notice(), OPEN)
    assert outcome.verdict is Verdict.DELIVERED


async def test_nobody_there_is_unreached() -> None:
    for target in (_target(1), _target(1883, host="nowhere.test")):
        outcome = await SENDER.send(target, notice(), OPEN)
        assert (outcome.verdict, outcome.address, outcome.may_have_arrived) == (Verdict.UNREACHED, None, False)


CONNACK = bytes((0x20, 3, 0, 0, 0))


def _refusal(code: int) -> bytes:
    return bytes((0x20, 3, 0, code, 0))


def _puback(code: int) -> bytes:
    return bytes((0x40, 4, 0, 1, code, 0))


@pytest.mark.parametrize(
    ("answers", "verdict", "may_have_arrived"),
    [
        ([], Verdict.RETRY, False),
        ([CONNACK], Verdict.RETRY, True),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], Verdict.RETRY, False),
        ([bytes((0x20, 2, 0, 1))], Verdict.REFUSED, False),  # MQTT 3.1.1: version not supported
        ([bytes((0x20, 2, 0, 3))], Verdict.RETRY, False),  # MQTT 3.1.1: unavailable
        ([bytes((0x20, 2, 0, 4))], Verdict.REFUSED, False),  # MQTT 3.1.1: user name or password
        ([_refusal(0x88)], Verdict.RETRY, False),
        ([_refusal(0x97)], Verdict.RETRY, False),
        ([_refusal(0x84)], Verdict.REFUSED, False),
        ([_refusal(0x9D)], Verdict.REFUSED, False),
        ([CONNACK, _puback(0x97)], Verdict.RETRY, False),
        ([CONNACK, _puback(0x90)], Verdict.REFUSED, False),
        ([CONNACK, _puback(0x10)], Verdict.DELIVERED, False),
        ([CONNACK, b"\xff" * 100], Verdict.RETRY, True),
        ([bytes((0x20, 5, 0, 0, 2, 0x25, 0))], Verdict.DELIVERED, False),  # keeps no retained messages: we send none
    ],
)
async def test_what_a_broker_says_or_does_not_say(
    answers: list[bytes], verdict: Verdict, may_have_arrived: bool
) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        for packet in [*answers, *([_puback(0)] if verdict is Verdict.DELIVERED and len(answers) == 1 else [])]:
            await stream.receive_some()
            await stream.send_all(packet)
        await _until_disconnected(stream)

    async with scripted_server(answer) as port:
        outcome = await SENDER.send(_target(port), notice(), HASTY if verdict is Verdict.RETRY else OPEN)
    assert (outcome.verdict, outcome.may_have_arrived) == (verdict, may_have_arrived), outcome.error
    assert bool(outcome.error) is (verdict is not Verdict.DELIVERED)
    assert _holds_no_secret(outcome)


async def test_a_broker_that_speaks_only_an_older_mqtt_is_named_as_such() -> None:
    async def old(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(bytes((0x20, 2, 0, 1)))

    async with scripted_server(old) as port:
        outcome = await SENDER.send(_target(port), notice(), OPEN)
    assert "it speaks only MQTT 3.1.1 or older, and MQTT 5 is needed" in (outcome.error or "")
    assert outcome.verdict is Verdict.REFUSED


async def test_a_broker_that_hangs_up_after_the_message_may_have_it() -> None:
    async def hangs_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(CONNACK)
        await stream.receive_some()

    async with scripted_server(hangs_up) as port:
        outcome = await SENDER.send(_target(port), notice(), OPEN)
    assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.RETRY, True)


async def test_a_broker_that_keeps_no_retained_messages_refuses_a_retained_one() -> None:
    async def keeps_none(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(bytes((0x20, 5, 0, 0, 2, 0x25, 0)))
        await _until_disconnected(stream)

    async with scripted_server(keeps_none) as port:
        outcome = await SENDER.send(_target(port, retain=True), notice(), OPEN)
    assert (outcome.verdict, outcome.may_have_arrived) == (Verdict.REFUSED, False)
    assert "retained" in (outcome.error or "")


async def test_the_whole_try_has_a_deadline_and_a_puback_before_it_counts() -> None:
    async def lingers(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(CONNACK)
        await stream.receive_some()
        await stream.send_all(_puback(0))
        await trio.sleep_forever()

    async with scripted_server(lingers) as port:
        outcome = await SENDER.send(_target(port), notice(), replace(OPEN, deadlines=replace(PATIENT, total=0.9)))
    assert outcome.verdict is Verdict.DELIVERED
    assert outcome.latency < 0.9  # the client waits a second for the broker to close


async def test_no_inward_host_is_dialled_on_save_or_send() -> None:
    async with canaries() as canary:
        closed = network(names=NAMES, ports=(canary.port,))  # nothing but the addresses stands in the way
        for host in (*INWARD_HOSTS, *canary.addresses):
            try:
                target = _target(canary.port, host=host, tls=True)
            except Invalid:
                continue  # an address with a zone, which is no host here
            (destination,) = SENDER.destinations(target.config, {})
            with pytest.raises((NotAllowed, Unreached)):
                await closed.check(destination)
            outcome = await SENDER.send(target, notice(), closed)
            assert outcome.verdict in {Verdict.REFUSED, Verdict.UNREACHED}
        assert canary.connections == 0


async def test_a_notice_in_the_clear_goes_only_to_networks_that_are_listed() -> None:
    (destination,) = SENDER.destinations(_target(1883, host="8.8.8.8").config, {})
    with pytest.raises(NotAllowed, match="without encryption"):
        await CLOSED.check(destination)
    (destination,) = SENDER.destinations(_target(8883, host="8.8.8.8", tls=True).config, {})
    await CLOSED.check(destination)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"host": "a b"}, "host"),
        ({"host": "mqtt://broker.example"}, "host"),
        ({"host": ""}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65_536}, "port"),
        ({"port": "x"}, "port"),
        ({"topic": "alerts/#"}, "topic"),
        ({"topic": "tenant/{tenant_id}/device/{device_id}/alerts"}, "topic"),
        ({"expiry_seconds": -1}, "expiry_seconds"),
        ({"tls": True, "ca": "nonsense"}, "ca"),
        ({"password": "in the open"}, "password"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_names_its_field(changes: dict[str, Any], field: str) -> None:
    config = {"host": NAME, "topic": "alerts"} | changes
    with pytest.raises(Invalid) as refusal:
        SENDER.validate(config, {})
    assert refusal.value.field == field


def test_ports_follow_tls_and_a_password_needs_a_user() -> None:
    assert SENDER.validate({"host": "[::1]", "topic": "a"}, {})["host"] == "::1"
    assert SENDER.validate({"host": NAME, "topic": "a"}, {})["port"] == 8883
    assert SENDER.validate({"host": NAME, "topic": "a", "tls": False}, {})["port"] == 1883
    with pytest.raises(Invalid) as refusal:
        SENDER.validate({"host": NAME, "topic": "a"}, {"password": PASSWORD})
    assert refusal.value.field == "username"


async def _until_disconnected(stream: trio.SocketStream) -> None:
    while (data := await stream.receive_some()) and data[0] != 0xE0:
        pass
