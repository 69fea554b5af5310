"""The certificates on System: for whom, until when, by whom, and what keeps newer files from being used."""

from datetime import timedelta
from pathlib import Path

import pytest

from appliance.web.system.certificates import SOON, Signer, tls_view
from tests.support.certificates import Authority
from tests.support.postgres_server import Database
from tests.support.web.accounts import client, signed_in
from tests.support.web.serving import over
from tests.support.web.tls import ENDS, NoCertificates, PublicAuthority, Shown

NOWHERE = Path("/nonexistent")


def shown(*, own: bool = True) -> Shown:
    return Shown(NOWHERE, NOWHERE, ("edge-1", "10.0.0.7"), own)


@pytest.mark.parametrize(
    ("left", "trusted", "soon"),
    [
        (SOON + timedelta(hours=1), True, False),
        (SOON - timedelta(hours=1), True, True),
        (timedelta(days=-1), True, True),
        (timedelta(days=-1), False, False),
    ],
)
def test_the_last_30_days_are_told_unless_the_clock_is_in_doubt(left: timedelta, *, trusted: bool, soon: bool) -> None:
    certificates = NoCertificates()
    certificates.broker = shown()
    (one,) = tls_view(certificates, (ENDS - left).timestamp(), trusted=trusted).certificates
    assert (one.listener, one.ends_soon) == ("broker", soon)


def test_without_tls_there_is_nothing() -> None:
    view = tls_view(NoCertificates(), 0.0, trusted=True)
    assert (list(view.certificates), view.authority) == ([], None)


async def test_the_page_and_the_api_show_them(database: Database) -> None:
    operator = signed_in(database.conninfo())
    certificates = NoCertificates()
    certificates.web, certificates.broker = shown(own=False), shown()
    certificates.ca = PublicAuthority(Authority())
    certificates.troubles = {"web": "/etc/web.pem is half written"}
    certificates.left_out = ("edge.example.com",)
    async with over(database, certificates=certificates) as served, client(served.url, operator) as asking:
        page = (await asking.get("/system")).text
        found = (await asking.get("/operator/system")).json()["tls"]
    for said in (
        "edge-1, 10.0.0.7",
        "4 May 2027",
        "another CA",
        "own CA",
        "/etc/web.pem is half written",
        "edge.example.com",
        "/trust",
    ):
        assert said in page
    assert certificates.ca.fingerprint in page.replace("<wbr>", "")
    assert [(one["listener"], one["signer"]) for one in found["certificates"]] == [
        ("web", Signer.OTHER.value),
        ("broker", Signer.OWN.value),
    ]
    assert found["authority"]["fingerprint"] == certificates.ca.fingerprint
    assert found["authority"]["left_out"] == ["edge.example.com"]


async def test_without_tls_the_page_has_no_card(database: Database) -> None:
    operator = signed_in(database.conninfo())
    async with over(database) as served, client(served.url, operator) as asking:
        assert "Certificates</h2>" not in (await asking.get("/system")).text
