"""Claims about certificates by file: what is taken, what is refused and in which words, and what is warned of."""

import ssl
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from appliance.errors import ApplianceError
from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls import certificates as module
from appliance.tls.certificates import Certificates
from appliance.tls.configured import Source
from appliance.tls.names import names_of
from appliance.tls.pair import Files
from tests.support.clock import DoubtfulClock
from tests.support.pki import Issued, authority, write_files
from tests.tls.opened import DAY, clock_of_tests, known, opened, service_time

GIVEN = Issued("gw.example", begins=BUILD_DATE, days=200)


def _by_file(folder: Path, clock: DoubtfulClock, given: Issued = GIVEN) -> Certificates:
    certificate, key = write_files(folder, given.pem, given.key_pem())
    source = Source(Files(certificate, key), {certificate: "web.certificate_file", key: "web.key_file"})
    return Certificates(folder / "tls", folder / "copies", {"web": source}, lambda: names_of(["gw"]), clock)


async def test_files_of_the_configuration_take_the_place_of_our_own(tmp_path: Path) -> None:
    certificates = _by_file(tmp_path, clock_of_tests())
    await certificates.open()
    one = known(certificates.web)
    assert (one.names, one.own, certificates.broker, certificates.ca) == (("gw.example",), False, None, None)
    assert not (tmp_path / "tls").exists()
    assert one.key_file.stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(one.chain_file, one.key_file)


@pytest.mark.parametrize(
    ("chain", "key", "words"),
    [
        (b"", GIVEN.key_pem(), r"web\.certificate_file: \S+/given\.pem holds no certificate"),
        (GIVEN.pem, GIVEN.key_pem()[:99], r"web\.key_file: \S+/given\.key holds a key that is cut off"),
        (GIVEN.pem, Issued("b").key_pem(), r"web\.key_file: \S+/given\.key is not the key of the certificate in"),
    ],
    ids=["no certificate", "half a key", "another key"],
)
async def test_a_start_with_files_that_cannot_be_used_names_the_key(
    tmp_path: Path, chain: bytes, key: bytes, words: str
) -> None:
    certificates = _by_file(tmp_path, clock_of_tests())
    write_files(tmp_path, chain, key)
    with pytest.raises(ApplianceError, match=words):
        await certificates.open()


@pytest.mark.parametrize("what", ["absent", "a folder", "for everybody", "large"])
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, what: str) -> None:
    certificates = _by_file(tmp_path, clock_of_tests())
    key = tmp_path / "given.key"
    match what:
        case "absent":
            key.unlink()
        case "a folder":
            key.unlink()
            key.mkdir()
        case "large":
            key.write_bytes(b"x" * 2_000_000)
        case _:
            key.chmod(0o644)
    with pytest.raises(ApplianceError, match=r"web\.key_file: \S+given\.key") as caught:
        await certificates.open()
    assert what != "for everybody" or "chmod o-rw" in str(caught.value)


async def test_changed_files_are_taken_and_half_written_ones_are_not(tmp_path: Path) -> None:
    renewed = Issued("gw.example", begins=BUILD_DATE, days=300)
    certificates = _by_file(tmp_path, clock_of_tests())
    changes = await opened(certificates)
    first = known(certificates.web)
    loaded = first.chain_file.read_bytes()
    with capture_logs() as logs:
        write_files(tmp_path, renewed.pem, GIVEN.key_pem())
        for _ in range(3):
            await certificates.look()
    assert "is not the key of the certificate" in certificates.troubles["web"]
    assert [one["cause"][:14] for one in logs if one["log_level"] == "error"] == ["web.key_file: "], "told once"
    assert (certificates.web, first.chain_file.read_bytes(), changes.count) == (first, loaded, 0)
    write_files(tmp_path, renewed.pem, renewed.key_pem())
    await certificates.look()
    assert (changes.count, certificates.troubles) == (1, {})
    assert known(certificates.web).not_after == BUILD_DATE + 300 * DAY
    assert first.chain_file.read_bytes() != loaded


async def test_a_chain_that_is_completed_is_taken_though_the_certificate_is_the_same(tmp_path: Path) -> None:
    root = Issued("A root", extensions=authority(), begins=BUILD_DATE, days=300)
    given = Issued("gw.example", root, begins=BUILD_DATE, days=200)
    certificates = _by_file(tmp_path, clock_of_tests(), given)
    changes = await opened(certificates)
    write_files(tmp_path, given.pem + root.pem, given.key_pem())
    await certificates.look()
    await certificates.look()
    assert changes.count == 1
    assert known(certificates.web).chain_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2


async def test_files_between_two_renames_are_no_trouble(tmp_path: Path) -> None:
    renewed = Issued("gw.example", begins=BUILD_DATE, days=300)
    certificates = _by_file(tmp_path, clock_of_tests())
    changes = await opened(certificates)
    write_files(tmp_path, renewed.pem, GIVEN.key_pem())
    assert await certificates.look() == module.RETRY_SECONDS
    assert certificates.troubles == {}, "the second file may come at any moment"
    write_files(tmp_path, renewed.pem, renewed.key_pem())
    assert await certificates.look() is None
    assert changes.count == 1


async def test_a_certificate_by_file_that_ends_within_30_days_is_told_and_stays_so_in_doubt(
    tmp_path: Path,
) -> None:
    clock = clock_of_tests()
    certificates = _by_file(tmp_path, clock)
    clock.at = (BUILD_DATE + 169 * DAY).timestamp()
    await certificates.open()
    assert certificates.expiring(service_time(clock)) == []
    clock.at += 2 * 86_400
    assert certificates.expiring(service_time(clock)) == [("web", certificates.web)]
    clock.trusted, clock.at = False, 0.0
    assert certificates.expiring(service_time(clock)) == [("web", certificates.web)], "what was known stays"


async def test_what_has_been_taken_is_served_past_its_end_and_a_start_refuses_it_only_by_a_trusted_clock(
    tmp_path: Path,
) -> None:
    clock = clock_of_tests()
    certificates = _by_file(tmp_path, clock)
    await certificates.open()
    clock.at = (BUILD_DATE + 201 * DAY).timestamp()
    await certificates.look()
    assert (certificates.troubles, certificates.web is not None) == ({}, True)
    with pytest.raises(ApplianceError, match=r"web\.certificate_file: \S+ CN=gw\.example ended on 2027-06-11"):
        await _by_file(tmp_path, clock).open()
    clock.trusted = False
    await _by_file(tmp_path, clock).open()
