"""Our own authority, as OpenSSL judges it: what it signs is accepted, and what it may not sign is not."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.authority import AuthorityError, issue, make_authority, read_authority
from appliance.tls.names import MOST_ADDRESSES, machine_names, names_in, names_of
from tests.support.own_tls import DAY, OwnAuthority

LATER = BUILD_DATE + 30 * DAY
HOSTS = ("gw7", "gw7.local", "localhost", "gw.example", "other.local", "printer.lan", "a.internal", "x.home.arpa")
ADDRESSES = ("127.0.0.1", "::1", "192.168.1.5", "10.0.0.9", "169.254.3.4", "100.64.1.1", "203.0.113.9")
ADDRESSES_V6 = ("fd12::5", "2001:db8::5", "fe80::5")


def _verified(own: OwnAuthority, folder: Path, names: tuple[str, ...], *options: str) -> str:
    leaf = folder / "leaf.pem"
    leaf.write_bytes(issue(own.authority, names_of(names), LATER - DAY, LATER + 300 * DAY))
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(own.file)]
    at = ["-attime", str(int(LATER.timestamp()))]
    done = subprocess.run([*words, *at, *options, str(leaf)], capture_output=True, text=True, check=False, timeout=60)
    return "ok" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_openssl_accepts_every_host_that_the_authority_may_sign(tmp_path: Path, host: str) -> None:
    own = OwnAuthority(tmp_path, "gw7", "gw.example")
    assert _verified(own, tmp_path, HOSTS, "-verify_hostname", host) == "ok"


@pytest.mark.parametrize("address", [*ADDRESSES, *ADDRESSES_V6])
def test_openssl_accepts_every_address_that_a_network_may_give(tmp_path: Path, address: str) -> None:
    own = OwnAuthority(tmp_path, "gw7")
    names = ("gw7", *ADDRESSES, *ADDRESSES_V6)
    assert _verified(own, tmp_path, names, "-verify_ip", address) == "ok"


@pytest.mark.parametrize("host", ["bank.example", "example", "gw.example.org", "xgw.example", "local.example"])
def test_openssl_refuses_a_host_that_a_stolen_key_would_sign(tmp_path: Path, host: str) -> None:
    own = OwnAuthority(tmp_path, "gw7", "gw.example")
    assert "permitted subtree violation" in _verified(own, tmp_path, ("gw7", host))
    assert names_of([host]).within(own.authority.domains).texts == (), "so it is left out"


def test_it_signs_no_other_authority(tmp_path: Path) -> None:
    own = OwnAuthority(tmp_path, "gw7")
    constraints = own.authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_small_devices_meet_no_critical_extension_that_they_do_not_know(tmp_path: Path) -> None:
    own = OwnAuthority(tmp_path, "gw7")
    leaf = x509.load_pem_x509_certificate(own.issue("gw7"))
    known = {x509.BasicConstraints.oid, x509.KeyUsage.oid}
    for certificate in (own.authority.certificate, leaf):
        assert {one.oid for one in certificate.extensions if one.critical} <= known
        assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=20 * 365)


def test_it_is_read_as_it_was_written_and_not_with_another_key() -> None:
    authority, key = make_authority(names_of(["gw7"]), BUILD_DATE)
    other, other_key = make_authority(names_of(["gw7"]), BUILD_DATE)
    assert read_authority(authority.pem, key).fingerprint == authority.fingerprint
    assert authority.certificate.subject != other.certificate.subject, "a list of trusted ones tells them apart"
    for pem, wrong in ((authority.pem, other_key), (authority.pem[:200], key), (authority.pem, key[:50]), (b"", b"")):
        with pytest.raises(AuthorityError):
            read_authority(pem, wrong)
    assert "PRIVATE" not in repr(authority)


def test_a_leaf_does_not_outlive_its_authority() -> None:
    authority, _ = make_authority(names_of(["gw7"]), BUILD_DATE)
    end = authority.not_after
    leaf = x509.load_pem_x509_certificate(issue(authority, names_of(["gw7"]), end - DAY, end + DAY))
    assert leaf.not_valid_after_utc == end


def test_a_machine_has_the_names_that_people_and_devices_use() -> None:
    names = machine_names(
        "GW7.factory.example", ["192.168.1.5", "fd12::5"], ["gw.example", "192.168.9.9", "gw.example."]
    )
    assert names.hosts == ("gw.example", "gw7.factory.example", "gw7.local", "localhost")
    assert [str(address) for address in names.addresses] == [
        "192.168.9.9",
        "127.0.0.1",
        "::1",
        "192.168.1.5",
        "fd12::5",
    ]


def test_what_can_be_no_name_is_left_out_and_a_certificate_stays_small() -> None:
    assert names_of(["", "a b", "*.example", "-a", "a" * 64, "x" * 250 + ".y", "1.2.3"]).texts == ()
    assert names_of(["fe80::1%eth0"]).texts == ("fe80::1",)
    many = names_of([f"10.0.{number // 256}.{number % 256}" for number in range(300)])
    assert len(many.addresses) == MOST_ADDRESSES


def test_names_are_read_from_a_certificate_as_they_were_written(tmp_path: Path) -> None:
    names = names_of(["gw7", *ADDRESSES, *ADDRESSES_V6])
    leaf = x509.load_pem_x509_certificate(OwnAuthority(tmp_path, "gw7").issue(*names.texts))
    assert names_in(leaf) == names
    assert names.covers(names_of(["gw7", "::1"]))
    assert not names.covers(names_of(["gw7", "::2"]))
