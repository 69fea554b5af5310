"""The secrets of new devices as one CSV file, from the page that shows them once.

The appliance keeps hashes alone, so the page itself sends the secrets back, and the answer is the same as a file:
nothing is stored in between, and no address leads to it. Whoever loads the page again gets neither.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from quart import Blueprint, Response

from appliance.broker.accounts import SECRET_LENGTH, device_user
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.device import IDENTIFIER
from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import tenant_of
from appliance.web.page import csv, forms
from appliance.web.platform import Platform

HEADS = ("tenant_id", "device_id", "mqtt_user", "mqtt_password", "http_token", "topic")
MAX_PART = 900_000
"""Characters of the field of one file, some 12,000 devices: a request has at most 1 MiB."""
_SECRET = rf"([A-Za-z0-9]{{{SECRET_LENGTH}}})"
_LINE = re.compile(rf"({IDENTIFIER.pattern}) {_SECRET} {_SECRET}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CredentialsPart:
    """What one file has: the content of the form's field, and the number of its first and last device."""

    field: str
    first: int
    last: int


def parts_of(issued: Iterable[IssuedSecrets]) -> list[CredentialsPart]:
    """Return the files of some secrets: one, but for more devices than one request can bring back."""
    parts: list[CredentialsPart] = []
    lines: list[str] = []
    size, count = 0, 0
    for count, one in enumerate(issued, start=1):
        line = f"{one.device_id} {one.password} {one.token}"
        if size + len(line) + len("%0D%0A") > MAX_PART:
            parts.append(_part(lines, count - 1))
            lines, size = [], 0
        lines.append(line)
        size += len(line) + len("%0D%0A")
    return [*parts, _part(lines, count)] if lines else parts


def _part(lines: Sequence[str], last: int) -> CredentialsPart:
    return CredentialsPart("\n".join(lines), last - len(lines) + 1, last)


def blueprint(platform: Platform) -> Blueprint:
    """Return the route that answers with the file."""
    routes = Blueprint("device_credentials_file", __name__)

    @routes.post("/devices/+credentials")
    @allow(ADMINS)
    async def download() -> Response:
        fields, tenant_id = await forms.read(), tenant_of()
        rows = list(_rows(tenant_id, fields.raw("credentials", most=MAX_PART)))
        if not rows:
            raise Invalid("There is no credential in the form.", "credentials")
        return csv.answer(f"credentials-{tenant_id}", HEADS, csv.at_once(rows), platform.clock.now())

    return routes


def _rows(tenant_id: str, text: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the file. Raises Invalid for what no page of secrets sends."""
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise Invalid("This is not what the page of new credentials has. Go back to it.", "credentials")
        device_id, password, token = found.groups()
        topic = f"tenant/{tenant_id}/device/{device_id}/telemetry"
        yield tenant_id, device_id, device_user(tenant_id, device_id), password, token, topic
