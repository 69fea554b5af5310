"""The certificates of the listeners, as files and services see them."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.service_clock.build_date import BUILD_DATE
from appliance.tls.certificates import Certificates
from appliance.tls.names import Names, names_of
from tests.support.clock import DoubtfulClock

LAN = "192.168.7.20"


def _clock() -> DoubtfulClock:
    now = BUILD_DATE.timestamp() + 100 * 86_400
    return DoubtfulClock(now, now, trusted=True)


def _certificates(folder: Path, names: Callable[[], Names], clock: DoubtfulClock) -> Certificates:
    return Certificates(folder / "tls", folder / "copies", {"web": None, "broker": None}, names, clock)


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
