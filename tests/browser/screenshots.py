"""``make screenshots``: every page of the table at both widths and in both themes, into ``screenshots/``.

``make screenshots ARGS=README`` takes the picture of the Overview that README.md shows instead.
"""

import sys
from pathlib import Path
from typing import Literal

import trio

from tests.browser.pages import PAGES
from tests.support.postgres_server import TEMPLATE, PostgresServer, make_template
from tests.support.project import ROOT
from tests.support.web.browser import chromium, open_demo

FOLDER = ROOT / "screenshots"
README = "README"
PICTURE = ROOT / "docs" / "images" / "overview.png"
PICTURE_SIZE = (1280, 860)
WIDTHS = {"desk": (1440, 900), "phone": (390, 844)}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def take(folder: Path, only: str) -> int:
    """Write the pictures of the pages whose name contains ``only``; how many there are."""
    folder.mkdir(exist_ok=True)
    taken = 0
    with PostgresServer() as server:
        trio.run(make_template, server)
        with open_demo(server, TEMPLATE) as demo, chromium() as browser:
            for page in (page for page in PAGES if only in page.name):
                context = demo.context(browser, page.role, reduced_motion="reduce")
                shown = context.new_page()
                shown.goto(demo.url + page.path)
                for width, (across, down) in WIDTHS.items():
                    shown.set_viewport_size({"width": across, "height": down})
                    for theme in THEMES:
                        shown.emulate_media(color_scheme=theme)
                        shown.screenshot(path=folder / f"{page.name}-{width}-{theme}.png", full_page=True)
                        taken += 1
                context.close()
    return taken


def take_picture(file: Path) -> None:
    """Write the picture of the Overview for README.md: in light, of one tenant, as its administrator sees it."""
    file.parent.mkdir(exist_ok=True)
    (page,) = (page for page in PAGES if page.name == "overview")
    with PostgresServer() as server:
        trio.run(make_template, server)
        with open_demo(server, TEMPLATE) as demo, chromium() as browser:
            context = demo.context(browser, page.role, reduced_motion="reduce", color_scheme="light")
            shown = context.new_page()
            shown.set_viewport_size({"width": PICTURE_SIZE[0], "height": PICTURE_SIZE[1]})
            shown.goto(demo.url + page.path)
            shown.screenshot(path=file)
            context.close()


if __name__ == "__main__":
    if sys.argv[1:] == [README]:
        take_picture(PICTURE)
        print(PICTURE)  # noqa: T201 - a command line prints
    else:
        written = take(FOLDER, sys.argv[1] if len(sys.argv) > 1 else "")
        print(f"{written} pictures in {FOLDER}")  # noqa: T201 - a command line prints
