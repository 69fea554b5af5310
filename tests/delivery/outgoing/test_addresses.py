"""Addresses that lead inside are refused in every form; what the operator lists, and what is public, is not."""

from ipaddress import ip_address, ip_network

import pytest

from appliance.delivery.outgoing import addresses
from appliance.delivery.outgoing.addresses import REFUSED, AddressPolicy, embedded, numeric
from tests.delivery.outgoing.inward import INWARD_HOSTS, OUTWARD_ADDRESSES

NOTHING_LISTED = AddressPolicy(allowed=(), own=())
LITERALS = [host for host in INWARD_HOSTS if not host.startswith("localhost")]


def _policy(*networks: str) -> AddressPolicy:
    return AddressPolicy(allowed=[ip_network(network) for network in networks], own=())


@pytest.mark.parametrize("host", LITERALS)
def test_a_host_that_leads_inside_is_refused(host: str) -> None:
    address = numeric(host)
    assert address is not None, "the system's resolver reads it as a number"
    assert NOTHING_LISTED.refusal(address)


@pytest.mark.parametrize("address", OUTWARD_ADDRESSES)
def test_a_public_address_is_not_refused(address: str) -> None:
    assert NOTHING_LISTED.refusal(ip_address(address)) is None


@pytest.mark.parametrize(("network", "words"), REFUSED)
def test_the_first_and_the_last_address_of_every_refused_network_are_refused(network: object, words: str) -> None:
    for address in (ip_network(str(network))[0], ip_network(str(network))[-1]):
        assert NOTHING_LISTED.refusal(address), words


def test_all_of_ipv6_that_is_given_to_nobody_is_refused() -> None:
    for first in range(0, 0x10000, 7):
        address = ip_address(first << 112 | 0x1234_0000_0000)
        if not 0x2000 <= first <= 0x3FFF:
            assert NOTHING_LISTED.refusal(address), address


def test_the_refusal_says_what_is_wrong_with_the_address_that_is_meant() -> None:
    assert NOTHING_LISTED.refusal(ip_address("10.20.0.31")) == "is a private address"
    assert NOTHING_LISTED.refusal(ip_address("::ffff:10.20.0.31")) == "leads to 10.20.0.31, which is a private address"
    assert NOTHING_LISTED.refusal(ip_address("169.254.169.254")) == "is a metadata service of a cloud"
    assert NOTHING_LISTED.refusal(ip_address("fe80::1%1")) == "is a link-local address"


def test_a_listed_network_lets_its_addresses_through_and_no_others() -> None:
    policy = _policy("10.20.0.0/24", "fd12::/64")
    assert policy.refusal(ip_address("10.20.0.31")) is None
    assert policy.refusal(ip_address("::ffff:10.20.0.31")) is None
    assert policy.refusal(ip_address("fd12::5")) is None
    assert policy.refusal(ip_address("10.20.1.31"))
    assert policy.refusal(ip_address("fd13::5"))


def test_an_embedded_address_is_not_let_through_by_a_network_of_its_cover() -> None:
    assert _policy("64:ff9b::/96").refusal(ip_address("64:ff9b::10.0.0.1"))
    assert _policy("2001::/32").refusal(ip_address("2001:0:7f00:1::1"))


def test_both_addresses_of_a_teredo_address_have_to_be_listed() -> None:
    assert [str(one) for one in embedded(ip_address("2001:0:808:808:0:0:f5ff:fffe"))] == ["8.8.8.8", "10.0.0.1"]  # type: ignore[arg-type]
    assert not _policy("8.8.8.8/32").listed(ip_address("2001:0:808:808:0:0:f5ff:fffe"))


def test_a_public_address_of_this_machine_is_refused_unless_listed() -> None:
    own = ip_address("8.8.8.8")
    assert AddressPolicy(allowed=(), own=[own]).refusal(own) == "is an address of this machine"
    assert AddressPolicy(allowed=(), own=[own]).refusal(ip_address("::ffff:8.8.8.8"))
    assert AddressPolicy(allowed=[ip_network("8.8.8.8/32")], own=[own]).refusal(own) is None


@pytest.mark.parametrize(
    ("network", "neighbour"), [("8.8.8.0/24", "8.8.8.9"), ("2a00:1450:1:2::/64", "2a00:1450:1:2::9")]
)
def test_a_neighbour_of_this_machine_is_refused_unless_listed(
    network: str, neighbour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "own_networks", lambda: [ip_network(network)])
    assert NOTHING_LISTED.refusal(ip_address(neighbour)) == "is in a network of this machine"
    assert NOTHING_LISTED.refusal(ip_address("8.8.9.9")) is None
    assert _policy(f"{neighbour}/{ip_address(neighbour).max_prefixlen}").refusal(ip_address(neighbour)) is None
