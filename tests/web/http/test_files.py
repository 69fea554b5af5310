"""Static files, and what the shipped ones must be."""

import gzip
import re
from pathlib import Path

import pytest

import appliance
from appliance.assets import asset
from appliance.web.http.files import PREFIX, TYPES, StaticFiles
from tests.support.web.accounts import http_client
from tests.support.web.serving import without_database

STATIC = asset("static")
TEMPLATES = asset("templates")
SHIPPED = [*STATIC.rglob("*"), *TEMPLATES.rglob("*")]
VENDOR = STATIC / "vendor"
TEXTS = [path for path in SHIPPED if path.suffix in {".css", ".js", ".svg", ".html"} and VENDOR not in path.parents]
"""Our own; what others have made is held against its list (``test_vendored.py``)."""


async def test_a_file_is_served_under_the_hash_of_its_content_for_ever() -> None:
    address = StaticFiles(STATIC).address("app.css")
    assert re.fullmatch(r"/static/app\.[0-9a-f]{12}\.css", address)
    async with without_database() as served, http_client() as client:
        answer = await client.get(served.url + address)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepts", ["identity", "gzip;q=0", "br"])
async def test_who_takes_no_gzip_gets_the_plain_file(accepts: str) -> None:
    files = StaticFiles(STATIC)
    async with without_database() as served, http_client() as client:
        answer = await client.get(served.url + files.address("tokens.css"), headers={"Accept-Encoding": accepts})
    assert "content-encoding" not in answer.headers
    assert answer.content == (STATIC / "tokens.css").read_bytes()


async def test_only_the_hashed_address_exists() -> None:
    async with without_database() as served, http_client() as client:
        for path in ("app.css", "fonts/OFL-Inter.txt", "app.000000000000.css", "", "fonts/"):
            assert (await client.get(f"{served.url}/static/{path}")).status_code == 404


def test_an_address_changes_with_the_content_also_of_what_a_sheet_names(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('b { background: url("f/b.svg") }')
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "b.svg").write_text("<svg/>")
    before = StaticFiles(tmp_path)
    (tmp_path / "f" / "b.svg").write_text("<svg></svg>")
    after = StaticFiles(tmp_path)
    assert before.address("f/b.svg") != after.address("f/b.svg")
    assert before.address("a.css") != after.address("a.css")
    sheet = after.get(after.address("a.css").removeprefix(PREFIX))
    assert sheet is not None
    assert f'url("{after.address("f/b.svg")}")'.encode() in sheet.body


def test_text_is_kept_compressed_and_fonts_are_not() -> None:
    files = StaticFiles(STATIC)
    font = files.get(files.address("fonts/inter-latin-wght-normal.woff2").removeprefix(PREFIX))
    sheet = files.get(files.address("app.css").removeprefix(PREFIX))
    assert font is not None
    assert font.packed is None
    assert sheet is not None
    assert sheet.packed is not None
    assert gzip.decompress(sheet.packed) == sheet.body


def test_each_shipped_file_is_served_or_known_not_to_be() -> None:
    left_out = {path.name for path in STATIC.rglob("*") if path.is_file() and path.suffix not in TYPES}
    assert left_out == {
        "OFL-Inter.txt",
        "OFL-JetBrainsMono.txt",
        "icons-LICENSE.txt",
        "htmx-LICENSE.txt",
        "uPlot-LICENSE.txt",
        "vendored.toml",
    }


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_nothing_names_another_machine(path: Path) -> None:
    names = re.findall(r"""(?:https?:|wss?:|["'(])//[^\s"'`)>]+""", path.read_text())
    assert [name for name in names if "www.w3.org" not in name and "${" not in name] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_nothing_is_inline(path: Path) -> None:
    """No style attribute, no script in the page, no event attribute: the policy would refuse them."""
    text = path.read_text()
    assert not re.search(r"<[^>]*\sstyle=", text)
    assert not re.search(r"<[^>]*\son[a-z]+=", text)
    assert not re.search(r"<style|javascript:|hx-on|<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\.style\b|\beval\(|new Function", text) or path.suffix != ".js"


def test_nothing_that_a_person_or_a_device_wrote_becomes_markup() -> None:
    """Every value is escaped: no template and no module has a way around it."""
    package = Path(appliance.__file__).parent
    ways = re.compile(r"\|\s*safe\b|\bMarkup\(|\bautoescape\s+false|autoescape=False")
    sources = [*TEXTS, *package.rglob("*.py")]
    assert [path.name for path in sources if ways.search(path.read_text())] == []
    assert len(sources) > len(TEXTS), "the modules were found"


def test_the_two_dark_themes_are_the_same() -> None:
    sheet = (STATIC / "tokens.css").read_text()
    by_system = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', sheet, re.DOTALL)
    by_choice = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', sheet, re.DOTALL)
    assert by_system is not None
    assert by_choice is not None
    assert by_system[1].split() == by_choice[1].split()


def test_each_icon_that_a_template_names_exists() -> None:
    sprite = (STATIC / "icons.svg").read_text()
    glyphs = (TEMPLATES / "_macros" / "icons.html").read_text()
    shipped = set(re.findall(r'id="([^"]+)"', sprite + glyphs))
    named = {
        name
        for path in [*TEMPLATES.rglob("*.html"), Path("appliance/web/page/frame.py")]
        for name in re.findall(r'(?<!class=)(?<!id=)"(?:#)?([ig]-[a-z0-9-]+)"', path.read_text())
    }
    assert named - shipped == set()


def test_each_class_that_a_template_names_is_styled() -> None:
    sheet = "".join(path.read_text() for path in sorted(STATIC.glob("*.css")))
    for path in TEMPLATES.rglob("*.html"):
        plain = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", path.read_text(), flags=re.DOTALL)
        for names in re.findall(r'class="([^"]*)"', plain):
            for name in names.split():
                assert re.search(rf"\.{re.escape(name)}(?![\w-])", sheet), f"{path.name}: {name}"
