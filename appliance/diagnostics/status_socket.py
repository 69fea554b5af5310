"""What the process tells of itself to commands on this machine: on a Unix socket, from the first moment to the last.

One answer, JSON, to whoever connects; only our own user and root may. It has the task tree and the metrics, so that a
start that waits for its disk, its database or its broker shows where it waits.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trio

from appliance.diagnostics import answer_socket

SOCKET = "status"
SEND_SECONDS = 5.0
"""Seconds that whoever asks may take to read the answer."""
MAX_ANSWER = 16_777_216
"""Bytes of an answer; metrics have no label per device, so that they are far below."""


async def serve(
    sockets: Path,
    report: Callable[[], Mapping[str, Any]],
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer with what ``report`` returns on the socket in the folder ``sockets``, until cancelled."""
    await answer_socket.serve(
        sockets,
        SOCKET,
        lambda: json.dumps(report()).encode(),
        seconds=SEND_SECONDS,
        doing="answers commands that ask for the status",
        task_status=task_status,
    )


async def ask(sockets: Path) -> Mapping[str, Any]:
    """Return what the process with the folder ``sockets`` tells of itself. Raises OSError, ValueError, TooSlowError."""
    received = bytearray()
    with trio.fail_after(SEND_SECONDS):
        async with await trio.open_unix_socket(str(sockets / SOCKET)) as stream:
            async for part in stream:
                received += part
                if len(received) > MAX_ANSWER:
                    raise ValueError("the answer is too long")
    answer: Mapping[str, Any] = json.loads(received)
    return answer
