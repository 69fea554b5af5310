"""``make screenshots``: every page of the table at both widths and in both themes, into ``screenshots/``."""

import sys
from pathlib import Path
from typing import Literal

import trio

from tests.browser.pages import PAGES
from tests.support.postgres_server import TEMPLATE, PostgresServer, make_template
from tests.support.project import ROOT
from tests.support.web.browser import chromium, open_demo

FOLDER = ROOT / "screenshots"
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


if __name__ == "__main__":
    written = take(FOLDER, sys.argv[1] if len(sys.argv) > 1 else "")
    print(f"{written} pictures in {FOLDER}")  # noqa: T201 - a command line prints
