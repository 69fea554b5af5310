"""A whole appliance behind a proxy that its configuration names."""

import httpx

from appliance.web.http.cookies import BROWSER
from tests.support.appliance_process import ApplianceProcess

PROXY, ELSEWHERE = "127.0.0.9", "127.0.0.1"
HEADERS = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "10.9.9.9"}


def test_the_proxies_of_the_configuration_are_believed_and_nobody_else(appliance: ApplianceProcess) -> None:
    appliance.start(APPLIANCE_WEB_TRUSTED_PROXIES=f"10.20.0.0/24,{PROXY}")
    for source, name, metrics in ((PROXY, f"__Host-{BROWSER.name}", 401), (ELSEWHERE, BROWSER.name, 200)):
        transport = httpx.HTTPTransport(verify=False, local_address=source)
        with httpx.Client(transport=transport, base_url=appliance.run["web_url"], timeout=60) as client:
            assert client.get("/sign-in", headers=HEADERS).headers["set-cookie"].partition("=")[0] == name
            assert client.get("/metrics").status_code == metrics
