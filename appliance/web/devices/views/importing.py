"""Import devices from a CSV file: first a preview of each row, then the import."""

import re
from collections import Counter
from http import HTTPStatus

from quart import Blueprint, Response

from appliance.devices.seats import import_file
from appliance.errors import Invalid
from appliance.web.access.auth import ADMINS, allow, viewer
from appliance.web.access.transactions import tenant_of
from appliance.web.devices.actions import DeviceActions, ImportResult
from appliance.web.devices.labels import IMPORT_OUTCOMES
from appliance.web.devices.views import credentials_file
from appliance.web.page import forms
from appliance.web.page.faults import Fault, fault_of
from appliance.web.page.paths import of_tenant
from appliance.web.page.renderer import PageRenderer

MAX_FILE = 1_000_000
"""Bytes of a CSV file, and of the text that the preview sends back: some 20,000 devices."""
SHOWN_ROWS = 500
"""Rows of an import that the page shows; the counts include all. With secrets it shows every row."""
_LINE_END = re.compile("\r\n|\r|\n")


def blueprint(renderer: PageRenderer, actions: DeviceActions) -> Blueprint:
    """Return the routes of the form."""
    routes = Blueprint("device_import", __name__)

    async def import_page(
        status: HTTPStatus,
        fault: Fault | None = None,
        imported: ImportResult | None = None,
        *,
        text: str = "",
        dry_run: bool = True,
        wanted_secrets: bool = False,
    ) -> Response:
        tenant_id = tenant_of()
        pairs = [] if imported is None else list(zip(imported.rows, imported.lines, strict=True))
        shown = SHOWN_ROWS if imported is None or not imported.issued else len(pairs)
        return await renderer.page(
            "devices/import.html",
            status=status,
            fault=fault,
            imported=imported,
            pairs=pairs[:shown],
            left_out=max(0, len(pairs) - shown),
            counts=Counter(line.outcome for _, line in pairs),
            outcomes=IMPORT_OUTCOMES,
            columns=import_file.COLUMNS,
            action=of_tenant("/devices/+import", viewer(), tenant_id),
            back=of_tenant("/devices", viewer(), tenant_id),
            text=text,
            dry_run=dry_run,
            secrets={} if imported is None else {issued.device_id: issued for issued in imported.issued},
            files=[] if imported is None else credentials_file.parts_of(imported.issued),
            download_at=of_tenant("/devices/+credentials", viewer(), tenant_id),
            wanted_secrets=wanted_secrets,
        )

    @routes.get("/devices/+import")
    @allow(ADMINS)
    async def show_import() -> Response:
        return await import_page(HTTPStatus.OK)

    @routes.post("/devices/+import")
    @allow(ADMINS)
    async def import_devices() -> Response:
        fields = await forms.read(files=True)
        dry_run = fields.text("step") != "import"
        try:
            data, wanted = _file(fields), fields.flag("credentials")
            imported = await actions.import_csv(tenant_of(), data, dry_run=dry_run, with_credentials=wanted)
        except Invalid as error:
            return await import_page(HTTPStatus.UNPROCESSABLE_ENTITY, fault_of(error, "file"))
        text = import_file.decode(data)
        return await import_page(HTTPStatus.OK, imported=imported, text=text, dry_run=dry_run, wanted_secrets=wanted)

    return routes


def _size_sent_back(data: bytes) -> int:
    """Return the bytes of a file as a browser sends its text: UTF-8, each end of a line two bytes. Raises Invalid."""
    return len(_LINE_END.sub("\r\n", import_file.decode(data)).encode())


def _file(fields: forms.Fields) -> bytes:
    """Return the chosen file, or the text that the preview sent back. Raises Invalid."""
    chosen = fields.files.get("file")
    data = chosen.read() if chosen is not None and chosen.filename else fields.raw("text", most=MAX_FILE).encode()
    if not data.strip():
        raise Invalid("Choose a CSV file.", "file")
    if len(data) > MAX_FILE or _size_sent_back(data) > MAX_FILE:
        raise Invalid(f"The file is larger than {MAX_FILE // 1000:,} kB; import it in parts.", "file")
    return data
