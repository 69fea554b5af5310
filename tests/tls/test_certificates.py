"""The certificates of the listeners, as files and services see them."""

import contextlib
import errno
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from appliance.children.files import write_atomically
from appliance.errors import ApplianceError
from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls import certificates as module
from appliance.tls import own
from appliance.tls.certificates import Certificate, Certificates
from appliance.tls.configured import Source
from appliance.tls.dates import LIFE
from appliance.tls.names import Names, names_of
from appliance.tls.pair import Files
from tests.support.clock import DoubtfulClock
from tests.support.pki import Issued, authority, write_files

LAN, OTHER_LAN = "192.168.7.20", "192.168.7.21"
DAY = timedelta(days=1)
PATIENCE_SECONDS = 30.0


def _clock() -> DoubtfulClock:
    now = BUILD_DATE.timestamp() + 100 * 86_400
    return DoubtfulClock(now, now, trusted=True)


def _certificates(folder: Path, names: Callable[[], Names], clock: DoubtfulClock) -> Certificates:
    return Certificates(folder / "tls", folder / "copies", {"web": None, "broker": None}, names, clock)


class Running:
    """Certificates that run, looked at again whenever the test says so."""

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.changes = 0
        certificates.subscribe(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def look(self) -> None:
        """Return once it has looked again."""
        await self.certificates.look()


@contextlib.asynccontextmanager
async def _running(certificates: Certificates) -> AsyncIterator[Running]:
    await certificates.open()
    yield Running(certificates)


def _known(certificate: Certificate | None) -> Certificate:
    assert certificate is not None
    return certificate


async def test_both_listeners_have_one_certificate_of_an_authority_that_is_made_once(tmp_path: Path) -> None:
    clock = _clock()
    first = _certificates(tmp_path, lambda: names_of(["gw", LAN]), clock)
    await first.open()
    again = _certificates(tmp_path, lambda: names_of(["gw", LAN]), clock)
    await again.open()

    assert first.web == first.broker == again.web
    assert first.web is not None
    assert first.web.names == ("gw", LAN)
    assert first.web.own
    assert first.ca is not None
    assert again.ca is not None
    assert first.ca.fingerprint == again.ca.fingerprint
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.pem": 0o600, "ca.key": 0o600, "leaf.pem": 0o600}
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(first.web.chain_file, first.web.key_file)


async def test_nothing_is_made_where_no_listener_is_under_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path / "tls", tmp_path / "copies", {}, lambda: names_of(["gw"]), _clock())
    await certificates.open()
    assert certificates.ca is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gone", ["ca.key", "half"])
async def test_an_authority_that_cannot_be_used_says_what_to_do(tmp_path: Path, gone: str) -> None:
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await certificates.open()
    key = tmp_path / "tls" / "ca.key"
    if gone == "half":
        key.write_bytes(key.read_bytes()[:100])
    else:
        key.unlink()
    with pytest.raises(ApplianceError, match=r"restore both from a backup, or remove .*ca\.pem for a new authority"):
        await _certificates(tmp_path, lambda: names_of(["gw"]), _clock()).open()


async def test_a_new_address_means_another_certificate_of_the_same_authority_without_the_old(
    tmp_path: Path,
) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), _clock())
    async with _running(certificates) as running:
        first, ca = _known(certificates.web), certificates.ca
        await running.look()
        assert (running.changes, certificates.web) == (0, first)
        addresses[:] = [OTHER_LAN]
        await running.look()
        second = _known(certificates.broker)
        assert (running.changes, second.names) == (1, ("gw", OTHER_LAN))
        assert second.fingerprint != first.fingerprint
        assert certificates.ca is ca
        addresses.clear()
        await running.look()
        assert certificates.web == second, "an address that goes for a moment costs no certificate"
    again = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await again.open()
    assert again.web == second


async def test_a_change_of_the_clock_or_of_addresses_is_looked_at_before_the_interval_is_over(tmp_path: Path) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), _clock())
    await certificates.open()
    changed = trio.Event()
    certificates.subscribe(changed.set)
    async with trio.open_nursery() as nursery:
        await nursery.start(certificates.run)
        await trio.testing.wait_all_tasks_blocked(0.01)
        addresses.append(OTHER_LAN)
        certificates.look_now()
        with trio.fail_after(module.LOOK_SECONDS / 2):
            await changed.wait()
        nursery.cancel_scope.cancel()


async def test_a_disk_that_hangs_holds_up_no_stop(tmp_path: Path) -> None:
    hanging, over = threading.Event(), threading.Event()

    def names() -> Names:
        """Hang from the second look on, as a file on a dead network share does."""
        if certificates.ca is not None:
            hanging.set()
            over.wait(PATIENCE_SECONDS)
        return names_of(["gw"])

    certificates = _certificates(tmp_path, names, _clock())
    await certificates.open()
    try:
        with trio.fail_after(PATIENCE_SECONDS / 2):
            async with trio.open_nursery() as nursery:
                await nursery.start(certificates.run)
                await trio.to_thread.run_sync(hanging.wait, PATIENCE_SECONDS)
                nursery.cancel_scope.cancel()
    finally:
        over.set()


async def test_it_is_renewed_before_its_end(tmp_path: Path) -> None:
    clock = _clock()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    async with _running(certificates) as running:
        first = _known(certificates.web)
        clock.at += (LIFE * 2 / 3).total_seconds() - 2 * 86_400
        await running.look()
        assert certificates.web == first
        clock.at += 2 * 86_400
        await running.look()
        assert _known(certificates.web).not_after > first.not_after + 200 * DAY
        assert certificates.expiring(_now(clock)) == []


def _now(clock: DoubtfulClock) -> datetime:
    return datetime.fromtimestamp(clock.now(), UTC)


async def test_in_doubt_a_certificate_is_kept_past_its_end_and_renewed_when_the_doubt_is_over(tmp_path: Path) -> None:
    clock = _clock()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    async with _running(certificates) as running:
        first = _known(certificates.web)
        clock.trusted, clock.at = False, clock.at + 3650 * 86_400
        await running.look()
        assert certificates.web == first
        assert certificates.expiring(_now(clock)) == []
        clock.trusted = True
        await running.look()
        assert _known(certificates.web).not_after > _now(clock) + 390 * DAY


async def test_in_doubt_a_new_address_has_the_dates_that_devices_accepted(tmp_path: Path) -> None:
    clock, addresses = _clock(), [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock)
    async with _running(certificates) as running:
        first = _known(certificates.web)
        clock.trusted, clock.at = False, 0.0
        addresses[:] = [OTHER_LAN]
        await running.look()
        second = _known(certificates.web)
        assert (second.names, second.not_after) == (("gw", OTHER_LAN), first.not_after)


async def test_a_first_start_in_doubt_has_the_build_date(tmp_path: Path) -> None:
    clock = DoubtfulClock(BUILD_DATE.timestamp() + 60, 0.0)
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    await certificates.open()
    assert _known(certificates.web).not_after == BUILD_DATE + LIFE
    assert certificates.ca is not None
    assert certificates.ca.certificate.not_valid_before_utc == BUILD_DATE


async def test_an_authority_that_a_clock_in_2036_has_made_is_accepted_today(tmp_path: Path) -> None:
    clock = _clock()
    right, clock.at = clock.at, datetime(2036, 1, 1, tzinfo=UTC).timestamp()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    async with _running(certificates) as running:
        made = certificates.ca
        assert made is not None
        assert made.certificate.not_valid_before_utc <= datetime.fromtimestamp(right, UTC)
        clock.at = right
        await running.look()
        renewed = _known(certificates.web)
        assert renewed.not_after < datetime.fromtimestamp(right, UTC) + 400 * DAY
        assert certificates.ca is made, "devices need not trust another one"


async def test_a_clock_past_the_end_of_the_authority_stops_nothing_and_heals(tmp_path: Path) -> None:
    clock = _clock()
    right, clock.at = clock.at, datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    async with _running(certificates) as running:
        first = _known(certificates.web)
        await running.look()
        assert (certificates.web, running.changes) == (first, 0), "it is not issued again and again"
        clock.at = right
        await running.look()
        assert _known(certificates.web).not_after < datetime.fromtimestamp(right, UTC) + 400 * DAY


async def test_names_that_the_authority_may_not_sign_are_left_out_and_told_once(tmp_path: Path) -> None:
    names = ["gw", LAN]
    certificates = _certificates(tmp_path, lambda: names_of(names), _clock())
    with capture_logs() as logs:
        async with _running(certificates) as running:
            names.append("gw.example")
            await running.look()
            await running.look()
            assert _known(certificates.web).names == ("gw", LAN)
            assert certificates.left_out == ("gw.example",)
    assert [one["names"] for one in logs if "may not sign" in one["event"]] == ["gw.example"]


@pytest.mark.parametrize("damage", ["cut", "gone", "of another authority", "empty"])
async def test_a_damaged_certificate_of_ours_is_issued_anew(tmp_path: Path, damage: str) -> None:
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await certificates.open()
    leaf, first = tmp_path / "tls" / "leaf.pem", _known(certificates.web)
    match damage:
        case "cut":
            leaf.write_bytes(leaf.read_bytes()[:-60])
        case "gone":
            leaf.unlink()
        case "empty":
            leaf.write_bytes(b"")
        case _:
            (tmp_path / "tls" / "ca.pem").unlink()
    again = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await again.open()
    assert _known(again.web).fingerprint != first.fingerprint
    assert _known(again.web).names == first.names


async def test_without_room_on_the_disk_the_certificate_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), _clock())
    await certificates.open()
    first = certificates.web
    addresses.append(OTHER_LAN)
    with monkeypatch.context() as full:
        full.setattr(own, "write_atomically", _no_room)
        await certificates.look()
        assert certificates.web == first
        again = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), _clock())
        await again.open()
        assert again.web == first, "a start does not wait for it either"
        (tmp_path / "new").mkdir()
        with pytest.raises(ApplianceError, match="No space left"):
            await _certificates(tmp_path / "new", lambda: names_of(["gw"]), _clock()).open()
    await certificates.look()
    assert OTHER_LAN in _known(certificates.web).names


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file in its place")
    with pytest.raises(ApplianceError, match=rf"{tmp_path}/tls cannot be used \(\w"):
        await _certificates(tmp_path, lambda: names_of(["gw"]), _clock()).open()


def _no_room(path: Path, data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path), len(data))


@pytest.mark.parametrize("writes", [0, 1, 2])
async def test_a_first_start_that_was_killed_between_two_files_is_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = [write_atomically] * writes

    def write_if_alive(path: Path, data: bytes) -> None:
        (left.pop() if left else _no_room)(path, data)

    monkeypatch.setattr(own, "write_atomically", write_if_alive)
    with pytest.raises(ApplianceError):
        await _certificates(tmp_path, lambda: names_of(["gw"]), _clock()).open()
    assert len(list((tmp_path / "tls").iterdir())) == writes
    monkeypatch.undo()
    again = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await again.open()
    assert again.ca is not None
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == again.ca.pem
    third = _certificates(tmp_path, lambda: names_of(["gw"]), _clock())
    await third.open()
    assert third.web == again.web


GIVEN = Issued("gw.example", begins=BUILD_DATE, days=200)


def _by_file(folder: Path, clock: DoubtfulClock, given: Issued = GIVEN) -> Certificates:
    certificate, key = write_files(folder, given.pem, given.key_pem())
    source = Source(Files(certificate, key), {certificate: "web.certificate_file", key: "web.key_file"})
    return Certificates(folder / "tls", folder / "copies", {"web": source}, lambda: names_of(["gw"]), clock)


async def test_files_of_the_configuration_take_the_place_of_our_own(tmp_path: Path) -> None:
    certificates = _by_file(tmp_path, _clock())
    await certificates.open()
    one = _known(certificates.web)
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
    certificates = _by_file(tmp_path, _clock())
    write_files(tmp_path, chain, key)
    with pytest.raises(ApplianceError, match=words):
        await certificates.open()


@pytest.mark.parametrize("what", ["absent", "a folder", "for everybody", "large"])
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, what: str) -> None:
    certificates = _by_file(tmp_path, _clock())
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
    certificates = _by_file(tmp_path, _clock())
    async with _running(certificates) as running:
        first = _known(certificates.web)
        loaded = first.chain_file.read_bytes()
        with capture_logs() as logs:
            write_files(tmp_path, renewed.pem, GIVEN.key_pem())
            for _ in range(3):
                await running.look()
        assert "is not the key of the certificate" in certificates.troubles["web"]
        assert [one["cause"][:14] for one in logs if one["log_level"] == "error"] == ["web.key_file: "], "told once"
        assert (certificates.web, first.chain_file.read_bytes(), running.changes) == (first, loaded, 0)
        write_files(tmp_path, renewed.pem, renewed.key_pem())
        await running.look()
        assert (running.changes, certificates.troubles) == (1, {})
        assert _known(certificates.web).not_after == BUILD_DATE + 300 * DAY
        assert first.chain_file.read_bytes() != loaded


async def test_a_chain_that_is_completed_is_taken_though_the_certificate_is_the_same(tmp_path: Path) -> None:
    root = Issued("A root", extensions=authority(), begins=BUILD_DATE, days=300)
    given = Issued("gw.example", root, begins=BUILD_DATE, days=200)
    certificates = _by_file(tmp_path, _clock(), given)
    async with _running(certificates) as running:
        write_files(tmp_path, given.pem + root.pem, given.key_pem())
        await running.look()
        await running.look()
        assert running.changes == 1
        assert _known(certificates.web).chain_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2


async def test_files_between_two_renames_are_no_trouble(tmp_path: Path) -> None:
    renewed = Issued("gw.example", begins=BUILD_DATE, days=300)
    certificates = _by_file(tmp_path, _clock())
    async with _running(certificates) as running:
        write_files(tmp_path, renewed.pem, GIVEN.key_pem())
        assert await certificates.look() == module.RETRY_SECONDS
        assert certificates.troubles == {}, "the second file may come at any moment"
        write_files(tmp_path, renewed.pem, renewed.key_pem())
        assert await certificates.look() is None
        assert running.changes == 1


async def test_a_certificate_by_file_that_ends_within_30_days_is_told_and_stays_so_in_doubt(
    tmp_path: Path,
) -> None:
    clock = _clock()
    certificates = _by_file(tmp_path, clock)
    clock.at = (BUILD_DATE + 169 * DAY).timestamp()
    await certificates.open()
    assert certificates.expiring(_now(clock)) == []
    clock.at += 2 * 86_400
    assert certificates.expiring(_now(clock)) == [("web", certificates.web)]
    clock.trusted, clock.at = False, 0.0
    assert certificates.expiring(_now(clock)) == [("web", certificates.web)], "what was known stays"


async def test_what_has_been_taken_is_served_past_its_end_and_a_start_refuses_it_only_by_a_trusted_clock(
    tmp_path: Path,
) -> None:
    clock = _clock()
    certificates = _by_file(tmp_path, clock)
    async with _running(certificates) as running:
        clock.at = (BUILD_DATE + 201 * DAY).timestamp()
        await running.look()
        assert (certificates.troubles, certificates.web is not None) == ({}, True)
    with pytest.raises(ApplianceError, match=r"web\.certificate_file: \S+ CN=gw\.example ended on 2027-06-11"):
        await _by_file(tmp_path, clock).open()
    clock.trusted = False
    await _by_file(tmp_path, clock).open()
