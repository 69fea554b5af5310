"""Two clients with one client id: what is told to whom, and who is shut out. No broker is needed."""

import re

import pytest

from appliance.broker import client_ids
from appliance.broker.client_ids import MAX_IDS, MAX_IDS_OF_USER, REPEATS, SHARED_SECONDS, SHUT_OUT_SECONDS, ClientIds
from appliance.broker.refusals import BrokerRefusal, RefusalCause
from appliance.broker.shut_out import ShutOut
from appliance.broker.takeover import Between, Party, Takeover
from appliance.metrics import Metrics
from tests.support.clock import DoubtfulClock

START = 1_796_000_000.0
OWNER = Party("acme/device/pump", "192.0.2.7")
SIBLING = Party("acme/device/fan", "192.0.2.8")
CLAIM = Party("acme", "192.0.2.9")
FOREIGN = Party("globex/device/x", "198.51.100.1")
FOREIGN_CLAIM = Party("globex", "198.51.100.2")


class Seen:
    """Takeovers at times that the test sets."""

    def __init__(self) -> None:
        self.clock = DoubtfulClock(START, START, trusted=True)
        self.metrics = Metrics()
        self.shut_out = ShutOut(self.clock)
        self.ids = ClientIds(self.clock, self.metrics, self.shut_out)

    def times(
        self, number: int, older: Party, newer: Party, client_id: str = "esp", every: float = 1.0
    ) -> list[BrokerRefusal]:
        """What the last of several takeovers, ``every`` seconds, tells."""
        told: list[BrokerRefusal] = []
        for _ in range(number):
            self.clock.at += every
            told = list(self.ids.note(Takeover(client_id, older, newer)))
        return told


def test_a_device_whose_link_broke_is_told_of_only_when_it_goes_on() -> None:
    seen = Seen()
    assert seen.times(REPEATS - 1, OWNER, OWNER) == []
    (told,) = seen.times(1, OWNER, OWNER)
    assert (told.username, told.device_id, told.rival) == (OWNER.user, "pump", OWNER.user)
    assert "two clients with this user use the client id `esp`" in str(told.hint())
    assert Seen().times(20, OWNER, OWNER, every=40.0) == [], "a bad link, once in a while"


def test_two_devices_of_a_tenant_are_told_of_each_other() -> None:
    seen = Seen()
    assert seen.times(REPEATS - 1, OWNER, SIBLING) == []
    first, second = seen.times(1, SIBLING, OWNER)
    assert (first.username, first.address, first.rival) == (SIBLING.user, SIBLING.address, OWNER.user)
    assert (second.username, second.address, second.rival) == (OWNER.user, OWNER.address, SIBLING.user)
    assert f"`{SIBLING.user}` uses the client id `esp`, too" in str(second.hint())


def test_two_tenants_are_told_at_once_and_neither_learns_who_the_other_is() -> None:
    told = Seen().times(1, OWNER, FOREIGN)
    assert [one.tenant_id for one in told] == ["acme", "globex"]
    for one, other in zip(told, reversed(told), strict=True):
        assert "another tenant" in str(one.hint())
        for secret in (other.username, other.tenant_id, other.address):
            assert str(secret) not in repr(one), "told to a customer"


def test_operators_see_both_users_until_it_is_over() -> None:
    seen = Seen()
    seen.times(REPEATS, OWNER, SIBLING)
    assert seen.ids.shared() == []
    seen.times(1, OWNER, FOREIGN)
    (shared,) = seen.ids.shared()
    assert (shared.client_id, shared.users) == ("esp", (OWNER.user, FOREIGN.user))
    assert (shared.repeated, shared.shut_out_until) == (False, None)
    seen.times(REPEATS - 1, FOREIGN, OWNER)
    (shared,) = seen.ids.shared()
    assert (shared.times, shared.repeated, shared.last_at) == (REPEATS, True, seen.clock.at)
    seen.clock.at += SHARED_SECONDS + 1
    assert seen.ids.shared() == []


def test_who_takes_anothers_user_name_for_its_client_id_again_and_again_is_shut_out() -> None:
    seen, woken = Seen(), []
    seen.shut_out.on_change(lambda: woken.append(seen.shut_out.users()))
    seen.times(REPEATS - 1, OWNER, FOREIGN, OWNER.user)
    assert seen.shut_out.users() == frozenset()
    robbed, thief = seen.times(1, OWNER, FOREIGN, OWNER.user)
    assert woken == [{FOREIGN.user}]
    assert (robbed.shut_out, thief.shut_out) == (False, True)
    assert "its sign-in is refused for ten minutes" in str(thief.hint())
    assert seen.ids.shared()[0].shut_out_until == seen.clock.at + SHUT_OUT_SECONDS
    assert seen.shut_out.seconds_until_change() == SHUT_OUT_SECONDS
    seen.clock.at += SHUT_OUT_SECONDS
    assert (seen.shut_out.users(), seen.shut_out.seconds_until_change()) == (frozenset(), None)
    assert "appliance_client_id_shut_outs_total 1.0" in seen.metrics.exposition().decode()


def test_many_thieves_of_one_client_id_are_shut_out_each_at_its_first_theft() -> None:
    seen = Seen()
    thieves = [Party(f"globex/device/x{number}", "198.51.100.1") for number in range(5)]
    for thief in thieves:
        seen.times(1, OWNER, thief, OWNER.user)
    assert seen.shut_out.users() == {thief.user for thief in thieves[REPEATS - 1 :]}


@pytest.mark.parametrize(
    ("older", "newer", "client_id"),
    [
        (FOREIGN, OWNER, "x"),  # the id is the other one's device id: its tenant may call a device as it likes
        (FOREIGN, OWNER, OWNER.user),  # the owner takes its id back
        (OWNER, OWNER, OWNER.user),
        (OWNER, FOREIGN, "pump"),
        (OWNER, CLAIM, OWNER.user),  # would shut out every device that has no credential yet
    ],
)
def test_nobody_else_can_be_made_to_look_like_a_thief(older: Party, newer: Party, client_id: str) -> None:
    seen = Seen()
    seen.times(10 * REPEATS, older, newer, client_id)
    assert seen.shut_out.users() == frozenset()


@pytest.mark.parametrize("thief", [SIBLING, FOREIGN, FOREIGN_CLAIM])
def test_devices_and_claim_users_of_other_tenants_are_thieves_alike(thief: Party) -> None:
    seen = Seen()
    seen.times(REPEATS, OWNER, thief, OWNER.user)
    assert seen.shut_out.users() == {thief.user}


def test_slow_thefts_are_no_war() -> None:
    seen = Seen()
    seen.times(20, OWNER, FOREIGN, OWNER.user, every=400.0)
    assert seen.shut_out.users() == frozenset()


def test_a_claim_users_device_is_known_by_its_client_id() -> None:
    told = Seen().times(REPEATS, CLAIM, CLAIM, "pump")
    assert [(one.tenant_id, one.device_id) for one in told] == [("acme", "pump")]
    (told_in_full,) = Seen().times(REPEATS, CLAIM, CLAIM, "acme/device/pump")
    assert told_in_full.device_id == "pump"


def test_the_appliances_own_clients_are_none_of_this() -> None:
    seen = Seen()
    for own in (Party("appliance", ""), Party("appliance/probe", "127.0.0.1")):
        assert seen.times(REPEATS, own, OWNER) == seen.times(REPEATS, OWNER, own) == []
    assert seen.ids.shared() == []


def test_takeovers_are_counted_by_how_the_users_are_related() -> None:
    seen = Seen()
    for number, other in ((1, OWNER), (2, SIBLING), (3, FOREIGN)):
        seen.times(number, OWNER, other)
    text = seen.metrics.exposition().decode()
    found = dict(re.findall(r'appliance_client_id_takeovers_total\{users="(\w+)"\} (\S+)', text))
    assert found == {Between.SAME_USER: "1.0", Between.SAME_TENANT: "2.0", Between.TENANTS: "3.0"}


def test_invented_ids_of_one_user_push_out_nobody_elses() -> None:
    seen = Seen()
    seen.times(1, OWNER, FOREIGN)
    for number in range(2 * MAX_IDS):
        seen.times(1, FOREIGN_CLAIM, CLAIM, f"invented-{number}")
    shared = seen.ids.shared()
    assert len(shared) == MAX_IDS_OF_USER + 1
    assert shared[-1].users == (OWNER.user, FOREIGN.user)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_ids, "MAX_IDS", 20)
    monkeypatch.setattr("appliance.broker.shut_out.MAX_USERS", 5)
    seen = Seen()
    for number in range(100):
        seen.times(REPEATS, Party(f"acme/device/d{number}", ""), Party(f"globex/device/d{number}", ""),
                   f"acme/device/d{number}", every=0.1)  # fmt: skip
    assert len(seen.ids._kept) == len(seen.ids._thefts) == 20
    assert seen.shut_out.users() == {f"globex/device/d{number}" for number in range(95, 100)}


def test_a_refusal_for_it_is_one_of_its_own_kind() -> None:
    (told,) = Seen().times(REPEATS, OWNER, OWNER)
    assert told.cause is RefusalCause.CLIENT_ID
