"""The import of devices over HTTP: preview, import, and the secrets of new devices as one file."""

import csv
import html
import io
import re

import httpx
import psycopg
import pytest

from appliance.devices.credentials.credential import IssuedSecrets, token_hash
from appliance.devices.device import NewDevice
from appliance.people.role import Role
from appliance.web.devices.views import credentials_file, importing
from tests.support.postgres_server import Database
from tests.support.web.api_caller import dashboard
from tests.web.devices.test_views import NASTY, person, prepare, text

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def field(answer: httpx.Response, name: str) -> str:
    """What a hidden text of the page has."""
    found = re.findall(rf'<textarea[^>]*name="{name}"[^>]*>(.*?)</textarea>', answer.text, re.DOTALL)
    assert len(found) == 1, found
    return html.unescape(found[0])


async def import_file(admin: httpx.AsyncClient, content: bytes, **fields: str) -> httpx.Response:
    """Import a file without a look at it first."""
    form = {"step": "import"} | fields
    return await admin.post("/devices/+import", data=form, files={"file": ("d.csv", content)})


async def test_a_file_is_looked_at_before_it_is_imported(database: Database) -> None:
    await prepare(database)
    table = b"device_id;name\nd1;One\nd2;=cmd()\n../x;bad\n"
    async with dashboard(database) as served, person(served, database) as admin:
        shown = await admin.post("/devices/+import", data={"step": "look"}, files={"file": ("d.csv", table)})
        assert shown.status_code == 200
        assert "New 2" in text(shown)
        assert "Rejected 1" in text(shown)
        assert "No devices yet" in text(await admin.get("/devices"))
        again = field(shown, "text")
        form = {"step": "import", "text": again, "credentials": "on"}
        done = await admin.post("/devices/+import", data=form)
        assert "New: 2" in text(done)
        assert len(set(re.findall(r">([A-Za-z0-9]{24})<", done.text))) == 4
        assert "2 of 2 devices" in text(await admin.get("/devices"))
        for wrong in (b"", b"\xff", b"name\nx", b'device_id\n"x'):
            answer = await admin.post("/devices/+import", data={"step": "look"}, files={"file": ("d.csv", wrong)})
            assert answer.status_code == 422
            assert 'href="#f-file"' in answer.text


async def test_a_file_of_thousands_of_devices_comes_through_both_steps(database: Database) -> None:
    await prepare(database)
    table = "device_id,name\n" + "".join(f"d{n:05},{'x' * 60}\n" for n in range(9000))
    async with dashboard(database) as served, person(served, database) as admin:
        shown = await admin.post("/devices/+import", data={"step": "look"}, files={"file": ("d.csv", table.encode())})
        assert "No free seat 8980" in text(shown)
        again = field(shown, "text")
        done = await admin.post("/devices/+import", data={"step": (b"import")}, files={"text": (None, again.encode())})
        assert "New: 20" in text(done)


LONG = "\N{CJK UNIFIED IDEOGRAPH-6E29}" * 100_000


@pytest.mark.parametrize(
    ("filler", "encoding", "fits"),
    [
        ("\n" * 490_000, "utf-8", True),
        ("\n" * 510_000, "utf-8", False),
        (f"d2,{LONG}\n" * 3, "utf-16", True),
        (f"d2,{LONG}\n" * 4, "utf-16", False),
    ],
    ids=["lines", "too many lines", "text", "too much text"],
)
async def test_what_is_shown_before_the_import_fits_into_the_form_that_imports_it(
    database: Database, filler: str, encoding: str, fits: bool
) -> None:
    await prepare(database)
    data = f"device_id,name\nd1,One\n{filler}".encode(encoding)
    assert len(data) < importing.MAX_FILE
    async with dashboard(database) as served, person(served, database) as admin:
        shown = await admin.post("/devices/+import", data={"step": "look"}, files={"file": ("d.csv", data)})
        if fits:
            as_browsers_send_it = re.sub("\r?\n", "\r\n", field(shown, "text")).encode()
            form = {"step": (None, b"import"), "text": (None, as_browsers_send_it)}
            assert "New: 1" in text(await admin.post("/devices/+import", files=form))
        else:
            assert shown.status_code == 422
            assert "The file is larger than 1,000 kB; import it in parts." in text(shown)


async def test_the_downloaded_list_is_imported_as_it_is(database: Database) -> None:
    described = [
        NewDevice("-d1", "hall", "=cmd()", "+1", ("wet", "'-x", "a|b"), 60.5),
        NewDevice("d2", name="'=x", place=NASTY),
        NewDevice("d3"),
    ]
    await prepare(database, *described)
    async with dashboard(database) as served, person(served, database) as admin:
        file = (await admin.get("/devices?format=csv")).content
        assert "Unchanged: 3." in text(await import_file(admin, file))
        shared = list(csv.DictReader(io.StringIO(file.decode("utf-8-sig"))))
        assert {row["learned_interval"] for row in shared} == {""}
        for device in ("-d1", "d2", "d3"):
            answer = await admin.post(f"/devices/{device}/delete", data={"typed": device, "history": "keep"})
            assert answer.status_code == 303
        assert "New: 3." in text(await import_file(admin, file))
        assert (await admin.get("/devices?format=csv")).text.count("\r\n") == 4
        again = list(csv.DictReader(io.StringIO((await admin.get("/devices?format=csv")).text.lstrip(BOM))))
        names = ("device_id", "name", "place", "tags", "site_id", "interval")
        assert [[row[name] for name in names] for row in again] == [[row[name] for name in names] for row in shared]


async def test_the_secrets_of_an_import_are_one_file_and_shown_once(database: Database) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin:
        done = await import_file(admin, b"device_id\nd1\n-d2\n", credentials="on")
        assert "The credentials of 2 devices are shown only on this page." in text(done)
        file = await admin.post("/devices/+credentials", data={"credentials": field(done, "credentials")})
        assert file.headers["content-type"].startswith("text/csv")
        assert "no-store" in file.headers["cache-control"]
        assert re.fullmatch(
            r'attachment; filename="credentials-acme-[0-9-]+\.csv"', file.headers["content-disposition"]
        )
        rows = list(csv.DictReader(io.StringIO(file.text.lstrip(BOM))))
        assert [(row["device_id"], row["mqtt_user"], row["topic"]) for row in rows] == [
            ("'-d2", "acme/device/-d2", "tenant/acme/device/-d2/telemetry"),
            ("d1", "acme/device/d1", "tenant/acme/device/d1/telemetry"),
        ]
        for row in rows:
            assert f">{row['mqtt_password']}<" in done.text
            assert f">{row['http_token']}<" in done.text
        with psycopg.connect(database.conninfo()) as connection:
            kept = connection.execute(
                'SELECT token_hash FROM device_credentials ORDER BY device_id COLLATE "C"'
            ).fetchall()
        assert [bytes(one) for (one,) in kept] == [token_hash(row["http_token"]) for row in rows]
        loaded_again = await import_file(admin, b"device_id\nd1\n-d2\n", credentials="on")
        assert "No credential was created." in text(loaded_again)
        assert "+credentials" not in loaded_again.text


@pytest.mark.parametrize("given", ["", "d1", "=cmd() " + "x" * 24 + " " + "y" * 24, "d1 " + "x" * 24 + " <script>"])
async def test_nothing_else_becomes_a_file(database: Database, given: str) -> None:
    await prepare(database)
    async with dashboard(database) as served, person(served, database) as admin:
        assert (await admin.post("/devices/+credentials", data={"credentials": given})).status_code == 400
        async with person(served, database, Role.RESPONDER) as responder:
            assert (await responder.post("/devices/+credentials", data={"credentials": given})).status_code == 403


def test_more_secrets_than_a_request_can_carry_are_several_files() -> None:
    issued = [IssuedSecrets("t", f"d{n:063}", "u", "p" * 24, "t" * 24) for n in range(10_000)]
    parts = credentials_file.parts_of(issued)
    assert [(part.first, part.last) for part in parts] == [(1, 7500), (7501, 10_000)]
    assert sum(part.field.count("\n") + 1 for part in parts) == 10_000
    assert max(len(part.field.replace("\n", "%0D%0A")) for part in parts) <= credentials_file.MAX_PART
    assert credentials_file.parts_of([]) == []
