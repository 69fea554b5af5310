"""The page that shows the new secrets of one device, once, after it was added or its credential rotated."""

from functools import partial
from http import HTTPStatus

from quart import Response, request

from appliance.web.access.auth import viewer
from appliance.web.devices.actions import IssuedCredential
from appliance.web.devices.commands import lines
from appliance.web.devices.port import DevicesPort
from appliance.web.devices.views import credentials_file
from appliance.web.http.forwarding import own_url
from appliance.web.page.paths import of_tenant, to_device
from appliance.web.page.renderer import PageRenderer

OLD_PASSWORD = "OLD_PASSWORD"  # noqa: S105 - stands for the one that only the device has
"""Replaces the password that works until the switch: its hash alone is kept."""


async def secrets_page(renderer: PageRenderer, port: DevicesPort, created: IssuedCredential, title: str) -> Response:
    """Return the page: the secrets, the same as a file, and the lines that send a message with them.

    While the new password waits for its switch, there is a line for the old one, too.
    """
    issued, url = created.issued, own_url(renderer.platform.public_url)
    addressed = partial(lines, port.listener, issued.tenant_id, issued.device_id, url, request.host)
    return await renderer.page(
        "devices/secrets.html",
        status=HTTPStatus.CREATED,
        title=title,
        created=created,
        lines=addressed(password=issued.password, token=issued.token),
        before=None if created.credential.staged_at is None else addressed(password=OLD_PASSWORD),
        files=credentials_file.parts_of([issued]),
        download_at=of_tenant("/devices/+credentials", viewer(), issued.tenant_id),
        to=partial(to_device, viewer(), issued.tenant_id, issued.device_id),
        back=of_tenant("/devices", viewer(), issued.tenant_id),
    )
