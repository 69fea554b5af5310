"""The server's side of a WebSocket by hand, for what no real server sends."""

import re

from wsproto.utilities import generate_accept_token

BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 0x2, 0x1, 0x0, 0x8, 0x9, 0xA


def answer(request: bytes, *headers: str, status: str = "101 Switching Protocols", token: str | None = None) -> bytes:
    """Return the answer that accepts a request, with the right token unless another is given."""
    found = re.search(rb"(?i)^sec-websocket-key: *(\S+)", request, re.MULTILINE)
    assert found is not None
    accept = token if token is not None else generate_accept_token(found[1]).decode()
    lines = [f"HTTP/1.1 {status}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, ends: bool = True, reserved: int = 0, mask: bool = False) -> bytes:
    """Return a frame as a server sends it; with ``mask``, as it must not."""
    head = bytes([ends << 7 | reserved << 4 | opcode])
    flag = 0x80 if mask else 0
    size = len(payload)
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if mask else b"") + payload
