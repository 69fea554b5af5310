"""The addresses in notices."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.config import Web
from appliance.supervisor.delivery import _pages
from tests.support.web.tls import NoCertificates


@pytest.mark.parametrize(
    ("web", "address"),
    [
        (Web(host="10.0.0.7"), "http://10.0.0.7:8080/alerts/1"),
        (Web(host="10.0.0.7", tls=True), "https://10.0.0.7:8080/alerts/1"),
        (Web(host="fd12::7", tls=True), "https://[fd12::7]:8080/alerts/1"),
        (Web(public_url="https://edge.example", tls=False), "https://edge.example/alerts/1"),
    ],
)
def test_links_of_notices_lead_to_https_where_it_is_spoken(web: Web, address: str) -> None:
    base = cast("Any", SimpleNamespace(config=SimpleNamespace(web=web), certificates=NoCertificates()))
    assert _pages(base, 8080)("/alerts/1") == address
