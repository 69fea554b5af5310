"""Who is connected, from the broker's log. The lines are Mosquitto 2.0.11's own, and some of 2.1."""

import pytest

from appliance.broker import connected_users
from appliance.broker.connected_users import ConnectedUsers
from appliance.broker.takeover import Party, Takeover


def arrives(client_id: str, user: str = "acme/device/d1") -> str:
    return f"New client connected from 192.0.2.7:40000 as {client_id} (p2, c1, k60, u'{user}')."


def after(*lines: str) -> ConnectedUsers:
    users = ConnectedUsers()
    for line in lines:
        users.heard(line)
    return users


def connected(*lines: str) -> bool | None:
    return after(*lines).connected("acme", "d1")


@pytest.mark.parametrize(
    "end",
    [
        "Client esp disconnected.",
        "Client esp closed its connection.",
        "Client esp has exceeded timeout, disconnecting.",
        "Client esp disconnected, not authorised.",
        "Client esp disconnected due to malformed packet.",
        "Client esp been disconnected by administrative action.",
        "Client esp disconnected: Protocol error.",
        "Client esp [192.0.2.7:40000] disconnected: not authorised.",
        "Client esp [192.0.2.7:40000] closed its connection.",
        "Bad socket read/write on client esp: Connection reset by peer",
    ],
)
def test_a_device_is_connected_from_one_line_to_the_other(end: str) -> None:
    assert connected() is False
    assert connected(arrives("esp")) is True
    assert connected(arrives("esp"), end) is False
    assert connected(arrives("esp"), arrives("other"), end) is True, "its newer connection is open"


def test_a_client_that_takes_over_is_one_connection() -> None:
    taken_over = (arrives("esp"), "Client esp already connected, closing old connection.", arrives("esp"))
    assert connected(*taken_over) is True
    assert connected(*taken_over, "Client esp closed its connection.") is False


TAKEN = "Client esp already connected, closing old connection."


def test_the_next_client_with_an_id_that_was_closed_has_taken_it_over() -> None:
    users = after(arrives("esp"), arrives("other", "rival/device/y"))
    assert users.heard(TAKEN) is None
    taken = users.heard(arrives("esp", "rival/device/x"))
    assert taken == Takeover("esp", Party("acme/device/d1", "192.0.2.7"), Party("rival/device/x", "192.0.2.7"))
    assert users.heard(arrives("esp")) is None, "the log does not say that it was taken over"


def test_a_takeover_is_seen_where_the_broker_ends_the_older_connection_with_a_line_of_its_own() -> None:
    users = after(arrives("esp"), TAKEN, "Client esp [192.0.2.7:40000] disconnected: session taken over.")
    assert users.heard(arrives("esp", "rival/device/x")) is not None


@pytest.mark.parametrize(
    "lines",
    [(TAKEN,), (arrives("esp"), TAKEN, arrives("other")), (arrives("esp"), TAKEN, "mosquitto version 2.0.11 starting")],
)
def test_what_is_no_takeover(lines: tuple[str, ...]) -> None:
    assert after(*lines).heard(arrives("esp")) is None


def test_a_client_id_cannot_pass_for_the_closing_of_another() -> None:
    forged = "esp already connected, closing old connection."
    users = after(arrives("esp"), arrives(forged, "rival"), f"Client {forged} closed its connection.")
    assert users.heard(arrives("esp", "rival/device/x")) is None


def test_a_restart_of_the_broker_ends_every_connection() -> None:
    assert connected(arrives("esp"), "mosquitto version 2.0.11 starting") is False
    assert connected(arrives("esp"), "mosquitto version 2.0.11 running") is True


def test_of_a_device_behind_the_claim_user_it_is_not_known() -> None:
    claim = arrives("some", "acme")
    assert connected(claim) is None
    assert connected(claim, "Client some disconnected.") is False, "nobody is there who could be the device"
    assert connected(arrives("some", "rival")) is False
    assert connected(claim, arrives("esp")) is True
    assert connected(claim, arrives("esp"), "Client esp closed its connection.") is False, "it has its own user"


@pytest.mark.parametrize(
    "name", ["esp disconnected", "esp disconnected.", "esp: x", "esp [1]", "esp (p2, c1, k60, u'rival')"]
)
def test_a_client_id_that_looks_like_the_end_of_a_line_ends_no_other_connection(name: str) -> None:
    both = (arrives("esp"), arrives(name, "rival"))
    users = after(*both, f"Client {name} closed its connection.")
    assert users.connected("acme", "d1") is True
    users = after(arrives("esp"), arrives(name, "rival/device/x"), "Client esp closed its connection.")
    assert users.connected("acme", "d1") is False
    assert users.connected("rival", "x") is True


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected_users, "MAX_CLIENTS", 10)
    monkeypatch.setattr(connected_users, "MAX_USERS", 20)
    users = after(*(arrives(f"c{number}", f"acme/device/d{number}") for number in range(100)))
    assert [users.connected("acme", f"d{number}") for number in (99, 90, 89)] == [True, True, False]
    assert len(users._own) == 20
    assert len(users._connections) == 10
