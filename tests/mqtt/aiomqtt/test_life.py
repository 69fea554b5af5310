"""Claims about entering and leaving the client with aiomqtt's interface, and what it announces."""

# ruff: noqa: ARG001 - a clock is installed by being asked for, and a test marked as one with a real server

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from mqtt5 import ConnAckPacket, ConnAckReasonCode, DisconnectPacket, DisconnectReasonCode, PingReqPacket, PublishPacket
from trio.testing import MockClock

from appliance.mqtt.aiomqtt import Client, ConnectError, NegativeAckError, ProtocolError, QoS, TopicFilter, Will
from tests.support.mosquitto_server import MosquittoServer
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_facade import facade_of

REFUSAL = ConnAckPacket(reason_code=ConnAckReasonCode.NOT_AUTHORIZED, reason_str="go away")


async def test_it_is_entered_again_after_it_was_left(mosquitto: MosquittoServer, topic: str) -> None:
    client = Client(hostname=mosquitto.host, port=mosquitto.port)
    for _ in range(2):
        async with client:
            await client.publish(topic, b"")


async def test_a_name_that_is_not_known_is_the_resolver_s_error_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    client = Client(hostname="INVALID.HOSTNAME")
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await client.__aenter__()
        await client.__aexit__(None, None, None)


async def test_an_authentication_method_that_the_broker_does_not_know_is_refused_each_time(
    mosquitto: MosquittoServer,
) -> None:
    client = Client(hostname=mosquitto.host, port=mosquitto.port, authentication_method="INVALID")
    for _ in range(2):
        with pytest.raises(NegativeAckError, match="ConnAckPacket: BAD_AUTHENTICATION_METHOD"):
            await client.__aenter__()
        await client.__aexit__(None, None, None)


async def test_it_is_not_entered_twice_at_once(mosquitto: MosquittoServer) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        with pytest.raises(RuntimeError, match="entered already"):
            await client.__aenter__()
        await client.publish("still/connected", b"")


async def test_a_password_lets_in_and_another_does_not(mosquitto: MosquittoServer) -> None:
    with MosquittoServer(users={"rw": "readwrite"}) as server:
        async with Client(hostname=server.host, port=server.port, username="rw", password=b"readwrite"):
            pass
        client = Client(hostname=server.host, port=server.port, username="rw", password=b"INVALID")
        with pytest.raises(NegativeAckError, match="NOT_AUTHORIZED"):
            await client.__aenter__()
        await client.__aexit__(None, None, None)


async def test_leaving_what_was_not_entered_does_nothing() -> None:
    await Client(hostname="localhost").__aexit__(None, None, None)


async def test_leaving_twice_does_nothing(mosquitto: MosquittoServer) -> None:
    async with Client(hostname=mosquitto.host, port=mosquitto.port) as client:
        await client.__aexit__(None, None, None)
        with pytest.raises(ConnectError):
            await client.publish("t", b"")


async def test_an_exception_has_the_broker_publish_the_will(mosquitto: MosquittoServer, topic: str) -> None:
    address = {"hostname": mosquitto.host, "port": mosquitto.port}
    with pytest.raises(ProcessLookupError):
        async with Client(
            **address,  # type: ignore[arg-type]
            will=Will(topic, payload=b"foo", qos=QoS.AT_LEAST_ONCE, retain=True),
        ):
            raise ProcessLookupError
    async with Client(**address) as client:  # type: ignore[arg-type]
        await client.subscribe(TopicFilter(topic))
        message = await anext(client.messages())
        assert (message.payload, message.retain) == (b"foo", True)  # type: ignore[union-attr]
        await client.publish(topic, b"", retain=True)


@pytest.mark.parametrize("will", [Will("t"), None])
@pytest.mark.parametrize("error", [SystemExit(3), LookupError("mine"), None])
async def test_a_disconnect_says_whether_the_will_is_meant(
    broker: ScriptedBroker, autojump_clock: MockClock, will: Will | None, error: BaseException | None
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_leave, broker, will, error)
        peer = await broker.peer()
        with_will = DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE
        meant = with_will if will is not None and error is not None else DisconnectReasonCode.NORMAL_DISCONNECTION
        assert (await peer.expect(DisconnectPacket)).reason_code == meant


async def _leave(broker: ScriptedBroker, will: Will | None, error: BaseException | None) -> None:
    caught = None
    try:
        async with facade_of(broker, will=will):
            if error is not None:
                raise error
    except BaseException as raised:  # noqa: BLE001 - the very object is compared
        caught = raised
    assert caught is error


async def test_connect_says_what_the_constructor_was_told(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    will = Will("gone", payload=b"bye", will_delay_interval=7)
    options = {
        "username": "me",
        "password": b"\x00\xff",
        "clean_start": True,
        "session_expiry_interval": 600,
        "keep_alive": 42,
        "authentication_method": "scram",
        "authentication_data": b"first",
        "request_problem_info": False,
        "request_response_info": True,
        "receive_max": 5,
        "topic_alias_max": 3,
        "max_packet_size": 1000,
        "user_properties": [("a", "1"), ("a", "2")],
    }
    async with facade_of(broker, identifier="mine", will=will, **options) as client:
        connect = (await broker.peer()).connect
        assert connect is not None
        assert {name: getattr(connect, name) for name in options} == options
        assert (connect.client_id, client.identifier) == ("mine", "mine")
        assert connect.will is not None
        assert (connect.will.topic, connect.will.payload, connect.will.will_delay_interval) == ("gone", b"bye", 7)


async def test_the_identifier_is_made_up_or_the_one_that_the_broker_assigns(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(assigned_client_id="yours")
    client = facade_of(broker)
    assert client.identifier.startswith("aiomqtt-")
    assert client.identifier != facade_of(broker).identifier
    async with client:
        assert client.identifier == "yours"


async def test_the_answer_to_connect_can_be_had(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = ConnAckPacket(response_info="replies/here", receive_max=3)
    async with facade_of(broker, request_response_info=True) as client:
        connack = await client.connected()
        assert (connack.response_info, connack.receive_max) == ("replies/here", 3)
        with trio.move_on_after(0.01) as scope:
            await client.disconnected()
        assert scope.cancelled_caught
    await client.disconnected()
    with pytest.raises(ConnectError, match="Not connected to scripted:1883"):
        await client.connected()


async def test_a_client_without_keep_alive_asks_for_no_sign_of_life(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker):
        peer = await broker.peer()
        with trio.move_on_after(100_000) as scope:
            await peer.packet()
        assert scope.cancelled_caught
    broker = ScriptedBroker()
    async with facade_of(broker, keep_alive=10):
        assert isinstance(await (await broker.peer()).packet(), PingReqPacket)


async def test_it_stays_without_a_connection_unless_it_is_told_to_connect_again(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with facade_of(broker) as client:
        await (await broker.peer()).close()
        await client.disconnected()
        await trio.sleep(1000)
        with pytest.raises(ConnectError):
            await client.connected()
        assert len(broker.attempts) == 1


async def test_leaving_ends_the_calls_that_wait(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery, facade_of(broker) as client:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.publish("t", b"", qos=QoS.AT_LEAST_ONCE, packet_id=101),
            lambda: client.pubrel(102),
            lambda: client.subscribe(TopicFilter("t")),
            lambda: anext(client.messages()),
        ]

        async def wait(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(ConnectError):
                await call()

        for call in calls:
            nursery.start_soon(wait, call)
        await trio.testing.wait_all_tasks_blocked()


# Entering


async def test_a_refusal_is_told_with_its_reason(broker: ScriptedBroker) -> None:
    broker.connack = REFUSAL
    with pytest.raises(NegativeAckError, match="Negative ConnAckPacket: NOT_AUTHORIZED") as caught:
        await facade_of(broker).__aenter__()
    assert (caught.value.packet_id, caught.value.reason_str) == (None, "go away")


async def test_a_broker_of_an_older_mqtt_is_refused_in_those_words(broker: ScriptedBroker) -> None:
    broker.greeting = b"\x20\x02\x00\x01"
    with pytest.raises(NegativeAckError, match="UNSUPPORTED_PROTOCOL_VERSION") as caught:
        await facade_of(broker).__aenter__()
    assert "speaks only MQTT 3.1.1" in str(caught.value.reason_str)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request", PingReqPacket().write()])
async def test_a_peer_that_breaks_the_protocol_is_named(
    broker: ScriptedBroker, autojump_clock: MockClock, greeting: bytes
) -> None:
    broker.greeting = greeting
    with pytest.raises(ProtocolError, match="broke the protocol"):
        await facade_of(broker).__aenter__()


async def test_a_peer_that_closes_or_does_not_answer_is_no_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = None
    with pytest.raises(ConnectError, match="Not connected to scripted:1883") as caught:
        await facade_of(broker).__aenter__()
    assert "did not answer" in str(caught.value.__cause__)
    async with trio.open_nursery() as nursery:

        async def close() -> None:
            await broker.arrival()
            await (await broker.peer()).close()

        nursery.start_soon(close)
        with pytest.raises(ConnectError) as caught:
            await facade_of(broker).__aenter__()
        assert "closed the connection" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLCertVerificationError(1, "self-signed certificate"),
    ],
)
@pytest.mark.parametrize("wrapped", ["as it is", "as a cause", "in a group"])
async def test_what_the_system_says_is_raised_as_it_is(broker: ScriptedBroker, error: OSError, wrapped: str) -> None:
    broker.unreachable = lambda _attempt: True
    broker.failure = error
    if wrapped != "as it is":
        broker.failure = trio.BrokenResourceError() if wrapped == "as a cause" else OSError("all attempts failed")
        broker.failure.__cause__ = error if wrapped == "as a cause" else ExceptionGroup("several", [error])
    with pytest.raises(type(error)) as caught:
        await facade_of(broker).__aenter__()
    assert caught.value is error


async def test_a_connection_that_breaks_while_it_is_made_is_no_connection(broker: ScriptedBroker) -> None:
    broker.unreachable = lambda _attempt: True
    broker.failure = ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(ConnectError):
        await facade_of(broker).__aenter__()


async def test_a_unix_socket_leads_to_the_broker_or_is_missing(mosquitto: MosquittoServer, tmp_path: Path) -> None:
    async with Client(unix_socket=mosquitto.unix_socket) as client:
        await client.publish("t", b"")
    with pytest.raises(FileNotFoundError):
        await Client(unix_socket=str(tmp_path / "missing")).__aenter__()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "exactly one of hostname and unix_socket"),
        ({"hostname": "a", "unix_socket": "b"}, "exactly one of hostname and unix_socket"),
        ({"unix_socket": "b", "ssl_context": ssl.create_default_context()}, "ssl_context needs a hostname"),
    ],
)
def test_a_broker_has_one_address(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Client(**options)  # type: ignore[arg-type]


# The end of a connection


async def test_a_disconnect_of_the_broker_is_not_answered(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker) as client:
        peer = await broker.peer()
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SERVER_SHUTTING_DOWN))
        await client.disconnected()
        assert await peer.packet() is None


async def test_a_connection_that_is_about_to_end_is_none(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with facade_of(broker, reconnect=True) as client:
        peer = await broker.peer()
        await peer.stream.send_all(b"\x00\x02\x00\x00")  # after which we wait a second for it to close
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectError):
            await client.publish("t", b"")
        await client.connected()
        assert len(broker.attempts) == 2
        await client.publish("t", b"")


@pytest.mark.parametrize("data", [b"", b"\x00\x02\x00\x00"])
async def test_it_connects_again_after_an_end_and_after_nonsense(
    broker: ScriptedBroker, autojump_clock: MockClock, data: bytes
) -> None:
    async with facade_of(broker, reconnect=True) as client:
        peer = await broker.peer()
        if data:
            await peer.stream.send_all(data)
        else:
            await peer.close()
        await client.disconnected()
        await client.connected()
        await client.publish("t", b"")
        await (await broker.peer()).expect(PublishPacket)
        assert len(broker.attempts) == 2


# The log


async def test_the_logger_gets_what_there_is_to_say_and_the_standard_output_nothing(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = logging.getLogger("mine")
    mine.setLevel(logging.INFO)
    for logger in (None, mine):
        async with facade_of(broker, logger=logger, reconnect=True, session_expiry_interval=9) as client:
            await (await broker.peer()).close()
            await client.disconnected()
            await client.connected()
            await broker.peer()
    said = [(record.name, record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert said == [
        ("aiomqtt", "WARNING", "mqtt connection down"),
        ("mine", "INFO", "mqtt connected"),
        ("mine", "WARNING", "mqtt connection down"),
        ("mine", "INFO", "mqtt connected"),
    ]
    assert "endpoint=scripted broker" in caplog.text
    assert capsys.readouterr().out == ""
