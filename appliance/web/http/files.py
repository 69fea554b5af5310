"""Static files: read once, addressed by their content, compressed in memory, cached for ever.

An address contains the hash of the content (``app.1f6b0c2d9a3e.css``), so browsers may cache it for ever and a new
version has a new address. Only these addresses exist: a request is a dictionary look-up and never a path on disk.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from quart import Blueprint, Response, abort, request

from appliance.web.access.auth import OPEN, allow

PREFIX = "/static/"
TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".woff2": "font/woff2",
    }
)
"""The content types of served files by suffix; other files, such as licences, are not served."""
COMPRESSED = frozenset({".woff2"})
"""Suffixes of files that are already compressed."""
FOREVER = "public, max-age=31536000, immutable"
_CSS_URL = re.compile(r'url\("([^"]+)"\)')


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as served. ``packed``: its gzip form, None if the file is already compressed."""

    body: bytes
    packed: bytes | None
    content_type: str


class StaticFiles:
    """All static files. Addresses in style sheets are rewritten to the hashed ones."""

    def __init__(self, root: Path) -> None:
        self._addresses: dict[str, str] = {}
        self._files: dict[str, StaticFile] = {}
        names = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.suffix in TYPES]
        for name in sorted(names, key=lambda name: name.suffix == ".css"):  # style sheets name the others
            self._add(PurePosixPath(name), (root / name).read_bytes())

    def address(self, name: str) -> str:
        """Return the address of the file ``name``. Raises KeyError if there is none."""
        return PREFIX + self._addresses[name]

    def get(self, address: str) -> StaticFile | None:
        """Return the file at an address below PREFIX, or None."""
        return self._files.get(address)

    def _add(self, name: PurePosixPath, body: bytes) -> None:
        if name.suffix == ".css":
            body = self._with_hashed_addresses(name, body.decode()).encode()
        digest = hashlib.sha256(body).hexdigest()[:12]
        address = str(name.with_name(f"{name.stem}.{digest}{name.suffix}"))
        packed = None if name.suffix in COMPRESSED else gzip.compress(body, mtime=0)
        self._addresses[str(name)] = address
        self._files[address] = StaticFile(body, packed, TYPES[name.suffix])

    def _with_hashed_addresses(self, sheet: PurePosixPath, text: str) -> str:
        return _CSS_URL.sub(lambda found: f'url("{self.address(str(sheet.parent / found[1]))}")', text)


def blueprint(files: StaticFiles) -> Blueprint:
    """Return the route of the static files."""
    routes = Blueprint("files", __name__)

    @routes.get(PREFIX + "<path:address>")
    @allow(OPEN)
    async def file(address: str) -> Response:
        found = files.get(address)
        if found is None:
            abort(404)
        accepted = found.packed is not None and request.accept_encodings.quality("gzip") > 0
        body = found.packed if accepted else found.body
        response = Response(body, content_type=found.content_type)
        response.headers["Cache-Control"] = FOREVER
        if found.packed is not None:
            response.headers["Vary"] = "Accept-Encoding"
        if accepted:
            response.headers["Content-Encoding"] = "gzip"
        return response

    return routes
