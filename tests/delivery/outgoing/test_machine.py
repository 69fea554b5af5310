"""A machine knows its own addresses, and the networks of its interfaces."""

import socket
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from appliance.delivery.outgoing import machine
from appliance.delivery.outgoing.machine import is_own, own_networks
from tests.support.canary import lan_address


def test_the_addresses_of_this_machine_are_known_by_its_routes() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("8.8.8.8"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        assert is_own(ip_address(probe.getsockname()[0]))


def test_the_networks_of_the_interfaces_hold_their_addresses() -> None:
    found = own_networks()
    assert ip_network("127.0.0.0/8") in found
    assert any(ip_address(lan_address()) in network for network in found)


def test_networks_of_ipv6_are_those_of_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "if_inet6"
    listed.write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "2a001450000100020000000000000005 02 40 00 80     eth0\n"
        "fe80000000000000021a2bfffe3c4d5e 02 40 20 80     eth0\n"
        "2a010000000000000000000000000001 03 00 00 80     tun0\n"
    )
    monkeypatch.setattr(machine, "_INTERFACES_V6", listed)
    found = own_networks()
    assert ip_network("2a00:1450:1:2::/64") in found
    assert ip_network("::1/128") in found
    assert ip_network("::/0") not in found
    monkeypatch.setattr(machine, "_INTERFACES_V6", tmp_path / "absent")
    assert not any(network.version == 6 for network in own_networks())
