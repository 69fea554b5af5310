"""Every cookie that is set, under TLS and over plain HTTP; and none of one is read in place of the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from appliance.people.role import Role
from appliance.web.http.cookies import BROWSER, SESSION
from tests.support.certificates import Authority
from tests.support.postgres_server import Database
from tests.support.web.accounts import PASSWORD, signed_in
from tests.support.web.browsing import CSRF, browsing, send
from tests.support.web.serving import Served, over
from tests.support.web.tls import FileCertificates

SHARED = {"HttpOnly", "SameSite=Lax", "Path=/"}


@asynccontextmanager
async def served_with(database: Database, folder: Path, *, tls: bool) -> AsyncIterator[Served]:
    """A dashboard, under TLS or not."""
    certificates = FileCertificates(Authority(), folder) if tls else None
    async with over(database, certificates=certificates) as served:
        yield served


@pytest.mark.parametrize("tls", [True, False])
async def test_each_cookie_of_each_step_is_hardened(database: Database, tmp_path: Path, *, tls: bool) -> None:
    person = signed_in(database.conninfo(), Role.ADMIN)
    seen: list[str] = []

    async def check(answer: httpx.Response) -> None:
        for cookie in answer.headers.get_list("set-cookie"):
            name, *attributes = [part.strip() for part in cookie.partition("=")[0::2]]
            given = {part.strip() for part in attributes[0].split(";")[1:]}
            assert name in {one.name_in(secure=tls) for one in (SESSION, BROWSER)}, cookie
            assert given >= SHARED, cookie
            assert ("Secure" in given) is tls, cookie
            assert not any(part.startswith("Domain") for part in given), cookie
            seen.append(name)

    async with (
        served_with(database, tmp_path, tls=tls) as served,
        browsing(served, event_hooks={"response": [check]}) as browser,
    ):
        answer = await send(browser, "/sign-in", email=person.email, password=PASSWORD, keep="on")
        assert answer.status_code == 303
        page = await browser.get("/profile")
        token = CSRF.search(page.text)
        assert token is not None, "signed in"
        assert (await browser.post("/sign-out", data={"csrf_token": token[1]})).status_code == 303
        assert (await browser.get("/profile")).status_code == 303, "signed out"
    assert set(seen) == {one.name_in(secure=tls) for one in (SESSION, BROWSER)}


async def test_a_session_of_plain_http_is_none_under_tls_and_the_other_way_round(
    database: Database, tmp_path: Path
) -> None:
    """A cookie that somebody on the way has seen, or set, opens nothing later."""
    person = signed_in(database.conninfo(), Role.ADMIN)
    for tls in (True, False):
        async with served_with(database, tmp_path, tls=tls) as served, browsing(served) as browser:
            for secure, status in ((tls, 200), (not tls, 303)):
                cookie = {"Cookie": f"{SESSION.name_in(secure=secure)}={person.secret}"}
                assert (await browser.get("/profile", headers=cookie)).status_code == status, (tls, secure)
