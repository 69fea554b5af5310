"""Claims about the certificate of our own authority: when it is issued anew, and what it survives."""

import errno
import os
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
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
from appliance.tls.certificates import Certificates
from appliance.tls.dates import LIFE
from appliance.tls.names import Names, names_of
from tests.support.clock import DoubtfulClock
from tests.tls.opened import DAY, clock_of_tests, known, opened, service_time

LAN, OTHER_LAN = "192.168.7.20", "192.168.7.21"
PATIENCE_SECONDS = 30.0


def _certificates(folder: Path, names: Callable[[], Names], clock: DoubtfulClock) -> Certificates:
    return Certificates(folder / "tls", folder / "copies", {"web": None, "broker": None}, names, clock)


async def test_both_listeners_have_one_certificate_of_an_authority_that_is_made_once(tmp_path: Path) -> None:
    clock = clock_of_tests()
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
    certificates = Certificates(tmp_path / "tls", tmp_path / "copies", {}, lambda: names_of(["gw"]), clock_of_tests())
    await certificates.open()
    assert certificates.ca is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gone", ["ca.key", "half"])
async def test_an_authority_that_cannot_be_used_says_what_to_do(tmp_path: Path, gone: str) -> None:
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await certificates.open()
    key = tmp_path / "tls" / "ca.key"
    if gone == "half":
        key.write_bytes(key.read_bytes()[:100])
    else:
        key.unlink()
    with pytest.raises(ApplianceError, match=r"restore both from a backup, or remove .*ca\.pem for a new authority"):
        await _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests()).open()


async def test_a_new_address_means_another_certificate_of_the_same_authority_without_the_old(
    tmp_path: Path,
) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock_of_tests())
    changes = await opened(certificates)
    first, ca = known(certificates.web), certificates.ca
    await certificates.look()
    assert (changes.count, certificates.web) == (0, first)
    addresses[:] = [OTHER_LAN]
    await certificates.look()
    second = known(certificates.broker)
    assert (changes.count, second.names) == (1, ("gw", OTHER_LAN))
    assert second.fingerprint != first.fingerprint
    assert certificates.ca is ca
    addresses.clear()
    await certificates.look()
    assert certificates.web == second, "an address that goes for a moment costs no certificate"
    again = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await again.open()
    assert again.web == second


async def test_a_change_of_the_clock_or_of_addresses_is_looked_at_before_the_interval_is_over(tmp_path: Path) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock_of_tests())
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

    certificates = _certificates(tmp_path, names, clock_of_tests())
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
    clock = clock_of_tests()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    await certificates.open()
    first = known(certificates.web)
    clock.at += (LIFE * 2 / 3).total_seconds() - 2 * 86_400
    await certificates.look()
    assert certificates.web == first
    clock.at += 2 * 86_400
    await certificates.look()
    assert known(certificates.web).not_after > first.not_after + 200 * DAY
    assert certificates.expiring(service_time(clock)) == []


async def test_in_doubt_a_certificate_is_kept_past_its_end_and_renewed_when_the_doubt_is_over(tmp_path: Path) -> None:
    clock = clock_of_tests()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    await certificates.open()
    first = known(certificates.web)
    clock.trusted, clock.at = False, clock.at + 3650 * 86_400
    await certificates.look()
    assert certificates.web == first
    assert certificates.expiring(service_time(clock)) == []
    clock.trusted = True
    await certificates.look()
    assert known(certificates.web).not_after > service_time(clock) + 390 * DAY


async def test_in_doubt_a_new_address_has_the_dates_that_devices_accepted(tmp_path: Path) -> None:
    clock, addresses = clock_of_tests(), [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock)
    await certificates.open()
    first = known(certificates.web)
    clock.trusted, clock.at = False, 0.0
    addresses[:] = [OTHER_LAN]
    await certificates.look()
    second = known(certificates.web)
    assert (second.names, second.not_after) == (("gw", OTHER_LAN), first.not_after)


async def test_a_first_start_in_doubt_has_the_build_date(tmp_path: Path) -> None:
    clock = DoubtfulClock(BUILD_DATE.timestamp() + 60, 0.0)
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    await certificates.open()
    assert known(certificates.web).not_after == BUILD_DATE + LIFE
    assert certificates.ca is not None
    assert certificates.ca.certificate.not_valid_before_utc == BUILD_DATE


async def test_an_authority_that_a_clock_in_2036_has_made_is_accepted_today(tmp_path: Path) -> None:
    clock = clock_of_tests()
    right, clock.at = clock.at, datetime(2036, 1, 1, tzinfo=UTC).timestamp()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    await certificates.open()
    made = certificates.ca
    assert made is not None
    assert made.certificate.not_valid_before_utc <= datetime.fromtimestamp(right, UTC)
    clock.at = right
    await certificates.look()
    renewed = known(certificates.web)
    assert renewed.not_after < datetime.fromtimestamp(right, UTC) + 400 * DAY
    assert certificates.ca is made, "devices need not trust another one"


async def test_a_clock_past_the_end_of_the_authority_stops_nothing_and_heals(tmp_path: Path) -> None:
    clock = clock_of_tests()
    right, clock.at = clock.at, datetime(2099, 1, 1, tzinfo=UTC).timestamp()
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock)
    changes = await opened(certificates)
    first = known(certificates.web)
    await certificates.look()
    assert (certificates.web, changes.count) == (first, 0), "it is not issued again and again"
    clock.at = right
    await certificates.look()
    assert known(certificates.web).not_after < datetime.fromtimestamp(right, UTC) + 400 * DAY


async def test_names_that_the_authority_may_not_sign_are_left_out_and_told_once(tmp_path: Path) -> None:
    names = ["gw", LAN]
    certificates = _certificates(tmp_path, lambda: names_of(names), clock_of_tests())
    with capture_logs() as logs:
        await certificates.open()
        names.append("gw.example")
        await certificates.look()
        await certificates.look()
        assert known(certificates.web).names == ("gw", LAN)
        assert certificates.left_out == ("gw.example",)
    assert [one["names"] for one in logs if "may not sign" in one["event"]] == ["gw.example"]


@pytest.mark.parametrize("damage", ["cut", "gone", "of another authority", "empty"])
async def test_a_damaged_certificate_of_ours_is_issued_anew(tmp_path: Path, damage: str) -> None:
    certificates = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await certificates.open()
    leaf, first = tmp_path / "tls" / "leaf.pem", known(certificates.web)
    match damage:
        case "cut":
            leaf.write_bytes(leaf.read_bytes()[:-60])
        case "gone":
            leaf.unlink()
        case "empty":
            leaf.write_bytes(b"")
        case _:
            (tmp_path / "tls" / "ca.pem").unlink()
    again = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await again.open()
    assert known(again.web).fingerprint != first.fingerprint
    assert known(again.web).names == first.names


async def test_without_room_on_the_disk_the_certificate_before_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [LAN]
    certificates = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock_of_tests())
    await certificates.open()
    first = certificates.web
    addresses.append(OTHER_LAN)
    with monkeypatch.context() as full:
        full.setattr(own, "write_atomically", _no_room)
        await certificates.look()
        assert certificates.web == first
        again = _certificates(tmp_path, lambda: names_of(["gw", *addresses]), clock_of_tests())
        await again.open()
        assert again.web == first, "a start does not wait for it either"
        (tmp_path / "new").mkdir()
        with pytest.raises(ApplianceError, match="No space left"):
            await _certificates(tmp_path / "new", lambda: names_of(["gw"]), clock_of_tests()).open()
    await certificates.look()
    assert OTHER_LAN in known(certificates.web).names


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file in its place")
    with pytest.raises(ApplianceError, match=rf"{tmp_path}/tls cannot be used \(\w"):
        await _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests()).open()


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
        await _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests()).open()
    assert len(list((tmp_path / "tls").iterdir())) == writes
    monkeypatch.undo()
    again = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await again.open()
    assert again.ca is not None
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == again.ca.pem
    third = _certificates(tmp_path, lambda: names_of(["gw"]), clock_of_tests())
    await third.open()
    assert third.web == again.web
