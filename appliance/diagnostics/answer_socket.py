"""A Unix socket that gives one answer to whoever connects, then closes: for commands on this machine.

It depends on no port, address or certificate, and only our own user and root may connect.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from appliance.runtime.activity import activity

BACKLOG = 16
"""Questions that may wait to be answered."""


async def serve(
    sockets: Path,
    name: str,
    answer: Callable[[], bytes],
    *,
    seconds: float,
    doing: str,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    """Send what ``answer`` returns to each who connects to the socket ``name`` in the folder ``sockets``, until
    cancelled.

    ``seconds``: that whoever asks may take to read it; then the connection is closed. ``doing``: the activity of the
    task. Raises OSError where the socket cannot be made.
    """
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    path = sockets / name
    await listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    activity().doing(doing)

    async def send(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(seconds):
                await stream.send_all(answer())

    await trio.serve_listeners(send, [trio.SocketListener(listener)], task_status=task_status)
