"""Claims about how a client connects, pings and comes back, against a broker in memory where time costs nothing."""

# ruff: noqa: ARG001 - a clock is installed by being asked for

import re
import ssl
from itertools import pairwise

import pytest
import trio
import trio.testing
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    DisconnectReasonCode,
    PingReqPacket,
    PingRespPacket,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRelPacket,
)
from trio.testing import MockClock

from appliance.mqtt.client import Client
from appliance.mqtt.connection import CONTESTED_SECONDS, WITHOUT_A_WORD
from appliance.mqtt.errors import ConnectError, DisconnectedError
from appliance.mqtt.link import Link, LinkState
from tests.support.mqtt.scripted import qos1
from tests.support.mqtt.scripted_broker import ScriptedBroker
from tests.support.mqtt.scripted_client import RESUMED, client_of


@pytest.mark.parametrize("ways", [{}, {"hostname": "h", "unix_socket": "/s"}])
def test_exactly_one_way_to_the_broker_is_wanted(ways: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Client(**ways)  # type: ignore[arg-type]


async def test_a_refusal_at_the_first_connect_is_raised_with_its_reason(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = ConnAckPacket(reason_code=ConnAckReasonCode.NOT_AUTHORIZED, reason_str="who are you")
    with pytest.raises(ConnectError, match=r"scripted broker.*not authorized \(who are you\)") as caught:
        async with client_of(broker):
            pass
    assert caught.value.reason_code == ConnAckReasonCode.NOT_AUTHORIZED


async def test_a_broker_that_cannot_be_reached_at_first_is_an_error(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.unreachable = lambda _: True
    with pytest.raises(ConnectError, match="Connection refused") as caught:
        async with client_of(broker):
            pass
    assert caught.value.reason_code is None


async def test_a_broker_that_does_not_answer_is_an_error(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = None
    begun = trio.current_time()
    with pytest.raises(ConnectError, match="did not answer CONNECT in time"):
        async with client_of(broker, connect_timeout=7):
            pass
    assert 7 <= trio.current_time() - begun <= 8  # up to a second goes to the goodbye


async def test_keep_trying_enters_at_once_and_tries_again_after_growing_delays(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.unreachable = lambda attempt: attempt < 6
    async with client_of(broker, keep_trying=True) as client:
        assert not client.is_connected
        await client.connected()
        begun = broker.attempts[0]
        assert [moment - begun for moment in broker.attempts] == [0, 1, 3, 7, 15, 23]
        assert client.generation == 1


async def test_the_connection_is_made_again_and_counted(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        broker.connack = RESUMED
        await peer.close()
        assert (await client.disconnected()).state is LinkState.DOWN
        assert await client.connected() == RESUMED
        assert (client.generation, client.session_present) == (2, True)


async def test_a_connection_that_lasted_begins_its_delays_anew(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0):
        for lifetime in (0, 0, 100, 0):
            peer = await broker.peer()
            await trio.sleep(lifetime)
            await peer.close()
        await broker.peer()
    gaps = [later - earlier for earlier, later in zip(broker.attempts, broker.attempts[1:], strict=False)]
    assert gaps == [1, 2, 101, 2]


async def test_without_reconnect_the_end_of_the_connection_reaches_everybody(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, reconnect=False) as client, trio.open_nursery() as nursery:
        peer = await broker.peer()

        async def publish() -> None:
            with pytest.raises(DisconnectedError):
                await client.publish("t", b"")

        nursery.start_soon(publish)
        await peer.expect(PublishPacket)
        await peer.send(qos1(1))
        await peer.close()
        batches = client.batches()
        assert len((await anext(batches)).packets) == 1  # what had come in is still handed out
        with pytest.raises(DisconnectedError, match="closed the connection"):
            await anext(batches)
        with pytest.raises(DisconnectedError):
            await client.connected()


async def test_a_session_taken_over_is_told_and_left_alone_for_the_longest_delay(
    broker: ScriptedBroker,
    autojump_clock: MockClock,
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        link = await client.disconnected()
        assert link.state is LinkState.TAKEN_OVER
        assert "session taken over" in link.detail
        await client.connected()
        assert broker.attempts[1] - broker.attempts[0] == 8


async def test_whoever_takes_the_session_again_and_again_is_not_fought_in_a_loop(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        for _ in range(6):
            peer = await broker.peer()
            await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        await client.disconnected()
        assert client.statistics().taken_over == 6
        peer = await broker.peer()
        await trio.sleep(CONTESTED_SECONDS)  # left in peace for so long, it forgets
        await peer.send(DisconnectPacket(reason_code=DisconnectReasonCode.SESSION_TAKEN_OVER))
        await broker.peer()
    tries = [round(later - earlier) for earlier, later in pairwise(broker.attempts)]
    assert tries[:6] == [8, 16, 32, 32, 32, 32]
    assert tries[-1] == CONTESTED_SECONDS + 8


async def test_a_broker_that_accepts_and_hangs_up_again_and_again_is_taken_for_a_contested_session(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, session_expiry_interval=3600) as client:
        for state in [LinkState.DOWN] * (WITHOUT_A_WORD - 1) + [LinkState.TAKEN_OVER]:
            peer = await broker.peer()
            await peer.close()
            link = await client.disconnected()
            assert link.state is state
        assert "another client seems to use our client id" in link.detail
        await broker.peer()
    assert broker.attempts[-1] - broker.attempts[-2] == 8


async def test_a_broken_protocol_is_answered_with_its_reason_and_the_client_comes_back(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker) as client:
        peer = await broker.peer()
        await peer.stream.send_all(b"\x00\x00")
        goodbye = await peer.expect(DisconnectPacket)
        assert goodbye.reason_code == DisconnectReasonCode.MALFORMED_PACKET
        assert "malformed packet" in (await client.disconnected()).detail
        await broker.peer()


async def test_link_changes_tell_the_newest_state_until_the_end(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    seen: list[Link] = []
    async with trio.open_nursery() as nursery, client_of(broker) as client:

        async def watch() -> None:
            seen.extend([link async for link in client.link_changes()])

        nursery.start_soon(watch)
        peer = await broker.peer()
        await trio.testing.wait_all_tasks_blocked()
        await peer.close()
        await broker.peer()
        await trio.testing.wait_all_tasks_blocked()
    assert [(link.state, link.generation) for link in seen] == [
        (LinkState.READY, 1),
        (LinkState.DOWN, 1),
        (LinkState.READY, 2),
        (LinkState.CLOSED, 2),
    ]


# Keep-alive


async def test_pings_go_out_and_silence_brings_a_new_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=10) as client:
        peer = await broker.peer()
        begun = trio.current_time()
        for minute in (10, 20, 30):
            await peer.expect(PingReqPacket)
            assert trio.current_time() - begun == pytest.approx(minute, abs=0.5)
            if minute < 30:
                await peer.send(PingRespPacket())
        assert client.heard_at - begun == pytest.approx(20, abs=0.5), "what is sent is not heard"
        link = await client.disconnected()
        assert trio.current_time() - begun == pytest.approx(35, abs=0.5)
        assert "nothing heard from the broker for 15.0 s" in link.detail
        await broker.peer()


async def test_the_broker_may_set_the_keep_alive(broker: ScriptedBroker, autojump_clock: MockClock) -> None:
    broker.connack = ConnAckPacket(server_keep_alive=3)
    async with client_of(broker, keep_alive=60):
        peer = await broker.peer()
        begun = trio.current_time()
        await peer.expect(PingReqPacket)
        assert trio.current_time() - begun == pytest.approx(3, abs=0.1)


# What is no connection


def _caused(cause: Exception) -> trio.BrokenResourceError:
    """What Trio raises when a handshake fails."""
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


BAD_CERTIFICATE = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (_caused(BAD_CERTIFICATE), "TLS failed: .*verify failed"),
        (BAD_CERTIFICATE, "TLS failed: .*verify failed"),
        (_caused(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")), "TLS failed: .*wrong version"),
        (trio.ClosedResourceError("closed by us"), "closed by us"),
        (trio.BrokenResourceError(), "the stream is closed"),
        (TimeoutError(110, "Connection timed out"), "timed out"),
    ],
)
async def test_a_transport_that_fails_is_told_and_tried_again(
    broker: ScriptedBroker, autojump_clock: MockClock, error: Exception, told: str
) -> None:
    broker.failure = error
    broker.unreachable = lambda attempt: attempt <= 2
    with pytest.raises(ConnectError, match=told):
        async with client_of(broker):
            pass
    async with client_of(broker, keep_trying=True) as client:
        await trio.sleep(0.5)  # it has been tried
        assert re.search(told, (await client.disconnected()).detail)
        await client.connected()
        await (await broker.peer()).close()
        broker.unreachable = lambda attempt: attempt == 4
        await client.disconnected()
        await client.connected()
    assert len(broker.attempts) == 5


async def test_a_handshake_with_what_speaks_no_tls_is_told_and_tried_again(autojump_clock: MockClock) -> None:
    class Encrypted(ScriptedBroker):
        async def open(self, _: trio.Nursery) -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            self.attempts.append(trio.current_time())
            await theirs.send_all(b"220 mail.example ESMTP\r\n")
            stream = trio.SSLStream(ours, ssl.create_default_context(), server_hostname="localhost")
            await stream.do_handshake()
            return stream

    broker = Encrypted()
    async with client_of(broker, keep_trying=True) as client:
        await trio.sleep(10)
        assert len(broker.attempts) == 4
        assert "TLS failed" in client.link.detail


async def test_a_name_that_no_host_can_have_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(ConnectError, match=r"'a\.\.b' cannot be the name of a host"):
        async with Client("a..b"):
            pass


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
        (1, ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
        (2, ConnAckReasonCode.CLIENT_ID_NOT_VALID),
        (3, ConnAckReasonCode.SERVER_UNAVAILABLE),
        (4, ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD),
        (5, ConnAckReasonCode.NOT_AUTHORIZED),
        (99, ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION),
    ],
)
async def test_a_broker_that_speaks_only_an_older_mqtt_is_told_as_such(
    broker: ScriptedBroker, autojump_clock: MockClock, code: int, reason: ConnAckReasonCode, cut: int
) -> None:
    broker.connack = None
    answer = bytes((0x20, 2, 0, code))
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            peer = await broker.peer()
            await peer.stream.send_all(answer[:cut])
            await trio.testing.wait_all_tasks_blocked()
            await peer.stream.send_all(answer[cut:])
            assert await peer.packet() is None, "nothing of MQTT 5 follows"

        nursery.start_soon(refuse)
        with pytest.raises(ConnectError, match=r"it speaks only MQTT 3\.1\.1 or older") as caught:
            async with client_of(broker):
                pass
    assert caught.value.reason_code == reason
    assert "broke the protocol" not in str(caught.value)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x03\x00\x02\x02\x46", b"\xff"]
)
async def test_what_is_no_mqtt_is_told_at_once(
    broker: ScriptedBroker, autojump_clock: MockClock, greeting: bytes
) -> None:
    broker.greeting = greeting
    begun = trio.current_time()
    with pytest.raises(ConnectError, match="what answers there is not MQTT"):
        async with client_of(broker):
            pass
    assert trio.current_time() - begun <= 1, "a second goes to the goodbye"


async def test_a_broker_that_hangs_up_without_an_answer_may_not_speak_mqtt_5(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    broker.connack = None

    async def hang_up() -> None:
        await (await broker.peer()).close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        with pytest.raises(ConnectError, match=r"closed the connection without an answer: does it speak MQTT 5"):
            async with client_of(broker):
                pass


async def test_what_an_exchange_of_qos_2_left_in_the_session_does_not_cost_the_connection(
    broker: ScriptedBroker, autojump_clock: MockClock
) -> None:
    async with client_of(broker, keep_alive=0) as client:
        peer = await broker.peer()
        for _ in range(3):
            await peer.send(PubRelPacket(5))
            completed = await peer.expect(PubCompPacket)
            assert (completed.packet_id, completed.reason_code.value) == (5, 0x92)
        await peer.send(PubRecPacket(6))
        released = await peer.expect(PubRelPacket)
        assert (released.packet_id, released.reason_code.value) == (6, 0x92)
        await peer.send(PubCompPacket(6, reason_code=PubCompReasonCode.PACKET_ID_NOT_FOUND), PubRecPacket(7))
        await peer.expect(PubRelPacket)
        assert (client.generation, client.statistics().unsolicited) == (1, 6)
