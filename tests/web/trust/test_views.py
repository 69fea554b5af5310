"""/ca.crt and the page "Trust this appliance": for whoever is not signed in, and does not trust us yet."""

import html
import re
from pathlib import Path

import pytest

from appliance.web.devices.port import ListenerAddress
from tests.support.certificates import Authority
from tests.support.postgres_server import Database
from tests.support.web.accounts import http_client
from tests.support.web.serving import Served, over, without_database
from tests.support.web.tls import FileCertificates


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def certificates(authority: Authority, tmp_path: Path) -> FileCertificates:
    return FileCertificates(authority, tmp_path)


def plain_text(page: str) -> str:
    """What a page says, on one line."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)))


async def page_at(served: Served, host: str) -> str:
    """The page as a browser gets it over plain HTTP that asks for ``host``."""
    async with http_client() as client:
        answer = await client.get(f"http://127.0.0.1:{served.port}/trust", headers={"Host": host})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    return answer.text


async def test_the_ca_is_one_file_that_phones_and_programs_read(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates) as served, http_client() as client:
        answer = await client.get(f"http://127.0.0.1:{served.port}/ca.crt")
        assert answer.headers["content-type"] == "application/x-x509-ca-cert"
        assert answer.text == certificates.authority.pem
        assert "set-cookie" not in answer.headers
    async with without_database(certificates=certificates) as served, http_client(verify=certificates.client()) as sure:
        assert (await sure.get(f"https://localhost:{served.port}/ca.crt")).text == certificates.authority.pem


async def test_without_a_ca_of_our_own_neither_is_there(authority: Authority, tmp_path: Path) -> None:
    for certificates in (None, FileCertificates(authority, tmp_path, own=False)):
        async with without_database(certificates=certificates) as served, http_client() as client:
            assert (await client.get(f"{served.url}/ca.crt")).status_code == 404
            assert (await client.get(f"{served.url}/trust")).status_code == 404


async def test_the_page_says_what_to_do_and_how_to_compare(certificates: FileCertificates) -> None:
    assert certificates.ca is not None
    async with without_database(certificates=certificates) as served:
        page = await page_at(served, f"localhost:{served.port}")
        text = plain_text(page)
    assert certificates.ca.fingerprint.replace(":", "") in re.sub(r"[^0-9A-F]", "", page)
    for said in ("Windows", "Android", "iPhone", "macOS", "Firefox", "Debian", "ESP32", "Test CA", "appliance ca"):
        assert said in text
    assert f"curl -o ca.crt http://localhost:{served.port}/ca.crt" in text
    assert f"curl --cacert ca.crt https://localhost:{served.port}/healthz" in text
    assert "mosquitto_pub" not in text.partition("3. Trust it")[2].replace("curl, Python, mosquitto_pub", "")


async def test_the_string_of_c_is_the_ca(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates) as served:
        page = html.unescape(await page_at(served, "localhost"))
    source = page[page.index("static const char CA[]") :].partition(";")[0]
    assert "".join(re.findall(r'"(.*)\\n"', source)).encode() == certificates.authority.pem.replace("\n", "").encode()
    assert source.count('\\n"') == certificates.authority.pem.count("\n")


async def test_an_address_that_no_certificate_names_is_told_of(certificates: FileCertificates) -> None:
    async with without_database(certificates=certificates) as served:
        assert "No certificate is for 10.1.2.3." in plain_text(await page_at(served, f"10.1.2.3:{served.port}"))
        for named in ("localhost", "127.0.0.1:8080", "edge.example"):
            assert "No certificate is for" not in plain_text(await page_at(served, named))


async def test_a_name_that_the_ca_may_not_sign_is_not_to_be_added_again(certificates: FileCertificates) -> None:
    certificates.left_out = ("late.example.com",)
    async with without_database(certificates=certificates) as served:
        text = plain_text(await page_at(served, "late.example.com"))
        assert "No certificate is for late.example.com." in text
        assert "appliance doctor says what to do" in text
        assert "web.tls_names" not in text
        assert "web.tls_names" in plain_text(await page_at(served, "10.1.2.3"))


async def test_for_devices_alone_browsers_have_nothing_to_do(certificates: FileCertificates) -> None:
    certificates.broker, certificates.web = certificates.web, None
    certificates.tls = None
    async with without_database(
        certificates=certificates, listener=ListenerAddress(None, 8883, " --cafile ca.crt")
    ) as served:
        text = plain_text(await page_at(served, "localhost"))
    assert "mosquitto_pub -h localhost -p 8883 --cafile ca.crt -u TENANT/device/DEVICE" in text
    for left_out in ("Local Machine", "iPhone", "the browser warns", "certutil"):
        assert left_out not in text


async def test_the_sign_in_leads_there(certificates: FileCertificates, database: Database) -> None:
    for given in (certificates, None):
        async with over(database, certificates=given) as served, http_client() as client:
            page = await client.get(f"{served.url}/sign-in")
        assert page.status_code == 200
        assert ('<a href="/trust">Trust this appliance</a>' in page.text) is (given is not None)
