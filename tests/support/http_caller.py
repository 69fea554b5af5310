"""HTTP in plain bytes, for requests that a real client would not make, or would make too well."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import trio

from tests.support.appliance_process import ApplianceProcess

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Start:
    """A start line that opens for all at once, when ``expected`` tasks wait at it."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._open = trio.Event()

    async def wait(self) -> None:
        """Return when all the others wait too."""
        self._missing -= 1
        if not self._missing:
            self._open.set()
        await self._open.wait()


class Caller:
    """A client with a bearer token; each request has a connection of its own."""

    def __init__(self, appliance: ApplianceProcess, secret: str) -> None:
        self._port = int(appliance.run["web_url"].rpartition(":")[2])
        self._secret = secret

    async def post(
        self,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str | None] | None = None,
        *,
        method: str = "POST",
        hold_back: bool = False,
        start: Start | None = None,
    ) -> Answer:
        """One request. ``headers`` replace ours, None leaves one out; ``hold_back`` announces a body and sends none;
        before ``start`` opens, all but the last byte is sent."""
        request = self.request(target, body, headers, method=method)
        if hold_back:
            request = request[: len(request) - len(body)]
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            with contextlib.suppress(trio.BrokenResourceError):  # it has answered and hung up: the answer counts
                await stream.send_all(request[:-1])
                if start is not None:
                    await start.wait()
                await stream.send_all(request[-1:])
            received = bytearray()
            with trio.fail_after(PATIENCE_SECONDS):
                while chunk := await stream.receive_some():
                    received += chunk
        return _parse(bytes(received))

    async def hang_up(self, target: str, body: bytes) -> None:
        """Send a request whole, and do not wait for the answer."""
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
            await stream.send_all(self.request(target, body))

    def request(
        self, target: str, body: bytes, headers: Mapping[str, str | None] | None = None, *, method: str = "POST"
    ) -> bytes:
        """Return the bytes of a request."""
        lines = {
            "Host": "127.0.0.1",
            "Connection": "close",
            "Authorization": f"Bearer {self._secret}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        head = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in lines.items() if value is not None),
        ]
        return "\r\n".join([*head, "", ""]).encode() + body


def _parse(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Answer(int(status.split(" ", 2)[1]), headers, body)


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        body, chunks = body + rest[:length], rest[length + 2 :] if length else b""
    return body
