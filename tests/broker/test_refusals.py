"""How the broker's log is read, and when its debug logging is on. The lines are Mosquitto 2.0.11's own."""

import re
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from appliance.broker.refusals import (
    FLOOD,
    MAX_QUIET_SECONDS,
    MAX_REFUSALS,
    QUIET_SECONDS,
    BrokerRefusal,
    BrokerRefusals,
    RefusalCause,
    RefusalLogReader,
)
from appliance.metrics import Metrics
from tests.support.clock import TrustedClock


class HandClock(TrustedClock):
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        """Seconds."""
        return self.seconds

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


def read(*lines: str) -> list[BrokerRefusal]:
    log = RefusalLogReader()
    return [refused for at, line in enumerate(lines) if (refused := log.read(line, float(at))) is not None]


CONNECTED = (
    "New connection from 192.0.2.7:40000 on port 1883.",
    "New client connected from 192.0.2.7:40000 as esp (p2, c1, k60, u'acme/device/d1').",
)


def test_a_wrong_password_shows_the_address() -> None:
    lines = ("New connection from 192.0.2.7:43240 on port 1883.", "Client <unknown> disconnected, not authorised.")
    assert read(*lines) == [BrokerRefusal(RefusalCause.SIGN_IN, 1.0, "192.0.2.7")]


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ("tlsv1 alert unknown ca", "give it the CA of the appliance"),
        ("sslv3 alert bad certificate", "give it the CA of the appliance"),
        ("sslv3 alert certificate expired", "set its clock"),
        ("wrong version number", "switch TLS on in it, or change its port"),
        ("unsupported protocol", "its TLS is older than 1.2"),
    ],
)
def test_a_handshake_that_fails_says_what_the_device_needs(reason: str, hint: str) -> None:
    [refused] = read(
        "New connection from 192.0.2.7:39030 on port 8883.",
        f"OpenSSL Error[0]: error:0A000418:SSL routines::{reason}",
        "Client <unknown> disconnected: Protocol error.",
    )
    assert refused == BrokerRefusal(RefusalCause.PROTOCOL, 2.0, "192.0.2.7", tls=reason)
    assert hint in (refused.hint() or "")
    [at_once] = read(f"Client connection from 192.0.2.7 failed: error:0A000418:SSL routines::{reason}.")
    assert replace(at_once, at=2.0) == refused
    assert read("Client connection from 192.0.2.7 failed: error:0A000126:SSL routines::unexpected eof.") == []


def test_a_connection_that_ends_without_a_word_says_nothing_of_the_next() -> None:
    lines = (
        "OpenSSL Error[0]: error:0A000418:SSL routines::tlsv1 alert unknown ca",
        "Client esp closed its connection.",
        "New connection from 192.0.2.7:39030 on port 8883.",
        "OpenSSL Error[0]: error:0A000126:SSL routines::unexpected eof while reading",
        "Client <unknown> disconnected: Protocol error.",
    )
    assert read(*lines) == []


def test_among_several_connections_only_debug_logging_tells_which_was_refused() -> None:
    arrivals = ("New connection from 192.0.2.7:1 on port 1883.", "New connection from 192.0.2.8:2 on port 1883.")
    left = "Client <unknown> disconnected, not authorised."
    assert read(*arrivals, left) == [BrokerRefusal(RefusalCause.SIGN_IN, 2.0, None)]
    answered = "Sending CONNACK to 192.0.2.7 (0, 5)"
    assert read(*arrivals, answered, left, left) == [
        BrokerRefusal(RefusalCause.SIGN_IN, 3.0, "192.0.2.7"),
        BrokerRefusal(RefusalCause.SIGN_IN, 4.0, "192.0.2.8"),
    ]


def test_the_next_mosquitto_names_the_address_itself() -> None:
    lines = (
        "New connection from 192.0.2.7:1 on port 1883.",
        "New connection from 192.0.2.8:2 on port 1883.",
        "Client <unknown> [192.0.2.7:1] disconnected: not authorised.",
    )
    assert read(*lines) == [BrokerRefusal(RefusalCause.SIGN_IN, 2.0, "192.0.2.7")]


def test_who_was_let_in_is_not_looked_for_among_the_refused() -> None:
    refused = read(
        *CONNECTED, "New connection from 192.0.2.9:5 on port 1883.", "Client <unknown> disconnected, not authorised."
    )
    assert [one.address for one in refused] == ["192.0.2.9"]


@pytest.mark.parametrize("name", ["", ":0", "/run/edge/mosquitto.sock:0"])
def test_our_own_callers_on_the_private_socket_are_nobody(name: str) -> None:
    ours, ends = f"New connection from {name} on port 0.", "Client <unknown> disconnected due to protocol error."
    answered = f"Sending CONNACK to {name.removesuffix(':0')} (0, 1)"
    assert read(ours, "Client <unknown> closed its connection.") == []
    assert read(ours, ends) == []
    assert read(ours, answered, ends) == []
    [theirs] = read(ours, "New connection from 192.0.2.7:1 on port 1883.", answered, ends, ends)
    assert theirs.address == "192.0.2.7"
    session = f"New client connected from {name or ':0'} as x (p5, c1, k60, u'appliance')."
    [only] = read(ours, session, "New connection from 192.0.2.7:1 on port 1883.", ends)
    assert only.address == "192.0.2.7", "our session has arrived: nobody but the other can have been refused"
    assert (
        read("New client connected from :0 as x (p5, c1, k60, u'appliance').", "Client x disconnected, not authorised.")
        == []
    )


def test_a_denied_topic_names_device_and_mend() -> None:
    denied = "Denied PUBLISH from esp (d0, q1, r0, m1, 'tenants/acme/device/d1/telemetry', ... (27 bytes))"
    (refused,) = read(*CONNECTED, denied)
    assert refused == BrokerRefusal(
        RefusalCause.TOPIC, 2.0, "192.0.2.7", "esp", "acme/device/d1", "tenants/acme/device/d1/telemetry"
    )
    assert (refused.tenant_id, refused.device_id) == ("acme", "d1")
    assert refused.hint() == (
        "publishes to `tenants/acme/device/d1/telemetry`, should be `tenant/acme/device/d1/telemetry`"
    )


def test_a_denied_claim_user_learns_why() -> None:
    connected = "New client connected from 192.0.2.7:1 as c (p2, c1, k60, u'acme')."
    line = "Denied PUBLISH from c (d0, q1, r0, m1, '{}', ... (1 bytes))"
    own, strange, kind = read(
        connected,
        line.format("tenant/acme/device/d1/telemetry"),
        line.format("acme/d1"),
        line.format("tenant/acme/device/d1/q0"),
    )
    assert (own.tenant_id, own.device_id) == ("acme", "d1")
    assert own.hint() == "this device has its own credential; it can no longer use the claim user"
    assert strange.hint() == "publishes to `acme/d1`, should be `tenant/acme/device/DEVICE/telemetry`"
    assert kind.hint() == "publishes to `tenant/acme/device/d1/q0`, should be `tenant/acme/device/DEVICE/telemetry`"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("Client esp disconnected due to malformed packet.", RefusalCause.PROTOCOL),
        ("Client esp disconnected due to protocol error.", RefusalCause.PROTOCOL),
        ("Client esp disconnected due to oversize packet.", RefusalCause.TOO_LARGE),
        (
            "Dropped too large PUBLISH from esp (d0, q1, r0, m1, 'tenant/acme/device/d1/telemetry', ... (9 bytes))",
            RefusalCause.TOO_LARGE,
        ),
        ("Client connection from 192.0.2.7 denied: max_connections exceeded.", RefusalCause.TOO_MANY_CONNECTIONS),
    ],
)
def test_other_refusals(line: str, cause: RefusalCause) -> None:
    (refused,) = read(*CONNECTED, line)
    assert (refused.cause, refused.address) == (cause, "192.0.2.7")


@pytest.mark.parametrize(
    "line",
    [
        "Client esp disconnected.",
        "Client esp closed its connection.",
        "Client esp has exceeded timeout, disconnecting.",
        "Client esp already connected, closing old connection.",
        "Client esp been disconnected by administrative action.",
        "Bad socket read/write on client esp: Invalid input.",
        "Received PUBLISH from esp (d0, q1, r0, m1, 'x', ... (1 bytes))",
        "Sending PUBACK to esp (m1, rc0)",
        "Sending CONNACK to esp (0, 0)",
        "Reloading config.",
        "",
        "Denied",
        "New connection",
        "Client ",
    ],
)
def test_what_is_no_refusal(line: str) -> None:
    assert read(*CONNECTED, line) == []


def test_a_client_id_cannot_pass_for_another_user() -> None:
    forged = "x (p2, c1, k60, u'other/device/d9')."
    connected = f"New client connected from 192.0.2.7:1 as {forged} (p2, c1, k60, u'acme/device/d1')."
    (refused,) = read(connected, f"Client {forged} disconnected due to protocol error.")
    assert refused.username == "acme/device/d1"


@pytest.mark.parametrize(
    ("client_id", "line"),
    [
        ("esp disconnected, not authorised", "Client {} closed its connection."),
        ("esp [192.0.2.7:40000] disconnected: not authorised.", "Client {} [198.51.100.1:2] closed its connection."),
        ("<unknown> disconnected, not authorised", "Client {} disconnected."),
        (
            "esp (d0, q0, r0, m0, 'tenants/x",
            "Denied PUBLISH from {} (d0, q1, r0, m1, 'a (d0, q0, r0, m0, 'b', ... (9 bytes))",
        ),
        ("esp (d0, q0, r0, m0, '" * 99, "Denied PUBLISH from {} (d0, q1, r0, m1, 'a', ... (9 bytes))"),
    ],
)
def test_no_client_can_speak_of_another_by_its_id(client_id: str, line: str) -> None:
    forger = f"New client connected from 198.51.100.1:2 as {client_id} (p2, c1, k60, u'other/device/d9')."
    waiting = "New connection from 192.0.2.9:3 on port 1883."
    left = "Client esp disconnected due to protocol error."
    *of_forger, of_victim = read(*CONNECTED, waiting, forger, line.format(client_id), left)
    assert {one.username for one in of_forger} <= {"other/device/d9"}
    of_victim_alone = (RefusalCause.PROTOCOL, "acme/device/d1")
    assert (of_victim.cause, of_victim.username) == of_victim_alone, "it is still known, and of nothing else"


def test_callers_who_never_speak_are_forgotten() -> None:
    log = RefusalLogReader()
    log.read("New connection from 192.0.2.7:1 on port 1883.", 0.0)
    log.read("New connection from 192.0.2.8:1 on port 1883.", 31.0)
    assert log.read("Client <unknown> disconnected, not authorised.", 32.0) == BrokerRefusal(
        RefusalCause.SIGN_IN, 32.0, "192.0.2.8"
    )


def broker_refusals() -> tuple[BrokerRefusals, HandClock, Metrics]:
    clock, metrics = HandClock(), Metrics()
    return BrokerRefusals(clock, metrics), clock, metrics


def test_it_counts_by_cause_and_keeps_one_of_a_kind() -> None:
    kept, clock, metrics = broker_refusals()
    for _ in range(3):
        clock.seconds += 1
        kept.heard("New connection from 192.0.2.7:1 on port 1883.")
        kept.heard("Client <unknown> disconnected, not authorised.")
    for line in CONNECTED:
        kept.heard(line)
    kept.heard("Denied PUBLISH from esp (d0, q0, r0, m0, 'x/y', ... (1 bytes))")
    newest, older = kept.refusals()
    assert (newest.cause, older.cause, older.times, older.at) == (RefusalCause.TOPIC, RefusalCause.SIGN_IN, 3, 1003.0)
    assert kept.counts() == {RefusalCause.SIGN_IN: 3, RefusalCause.TOPIC: 1}
    assert kept.refusals("acme") == kept.refusals("acme", "d1") == [newest]
    assert kept.refusals("other") == kept.refusals("acme", "d2") == []
    found = dict(re.findall(r'appliance_door_refusals_total\{cause="(\w+)"\} (\S+)', metrics.exposition().decode()))
    assert found == {"sign_in": "3.0", "topic": "1.0"}


def test_only_the_last_thousand_are_kept() -> None:
    kept, _, _ = broker_refusals()
    for line in CONNECTED:
        kept.heard(line)
    for number in range(MAX_REFUSALS + 5):
        kept.heard(f"Denied PUBLISH from esp (d0, q0, r0, m0, 'x/{number}', ... (1 bytes))")
    topics = [one.topic for one in kept.refusals()]
    assert (len(topics), topics[0], topics[-1]) == (MAX_REFUSALS, f"x/{MAX_REFUSALS + 4}", "x/5")


async def test_a_flood_silences_the_broker_for_a_while(autojump_clock: MockClock) -> None:  # noqa: ARG001 - jumps
    kept, clock, _ = broker_refusals()
    said: list[tuple[bool, float]] = []
    async with trio.open_nursery() as nursery:
        await nursery.start(kept.run, lambda wanted: said.append((wanted, trio.current_time())))
        begun = trio.current_time()
        for _ in range(FLOOD):
            kept.heard("Sending PUBACK to esp (m1, rc0)")
        await trio.testing.wait_all_tasks_blocked()
        assert said == []
        clock.seconds += 0.9
        kept.heard("Sending PUBACK to esp (m1, rc0)")
        states = [kept.debug_logging]
        await trio.sleep(MAX_QUIET_SECONDS + 1)
        assert [wanted for wanted, _ in said] == [False, True]
        assert QUIET_SECONDS <= said[1][1] - begun < 2 * QUIET_SECONDS
        assert [*states, kept.debug_logging] == [False, True]
        nursery.cancel_scope.cancel()


def test_below_the_flood_debug_logging_stays_on() -> None:
    kept, clock, _ = broker_refusals()
    for _ in range(10):
        clock.seconds += 1
        for _ in range(FLOOD):
            kept.heard("Sending PUBACK to esp (m1, rc0)")
    assert kept.debug_logging
