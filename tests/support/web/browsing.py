"""A browser without script: somebody with a password, forms that are filled in and sent."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.web.accounts import client
from tests.support.web.serving import Served

CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


@asynccontextmanager
async def browsing(served: Served, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Open a browser without script, without a session."""
    async with client(served.url, None, **options) as browser:
        yield browser


async def send(browser: httpx.AsyncClient, path: str, page: str | None = None, **fields: str) -> httpx.Response:
    """Fill in the form at ``path`` and send it."""
    shown = await browser.get(page or path)
    token = CSRF.search(shown.text)
    assert token is not None, shown.text
    return await browser.post(path, data={"csrf_token": token[1], **fields})
