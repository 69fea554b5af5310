"""Whether the process is alive: answered on a Unix socket beside the data folder, from the first moment to the last.

It depends on no port, address or certificate, and is there before the dashboard is: a start that waits for room on the
disk, for the database or for a broker is alive. An answer says that the event loop runs, and nothing of readiness.
"""

from contextlib import suppress
from pathlib import Path

import trio

from appliance.runtime.activity import activity

SOCKET = "liveness"
ANSWER = b"alive\n"
BACKLOG = 16
"""Questions that may wait to be answered."""
SEND_SECONDS = 1.0
"""Seconds that whoever asks may take to read the answer."""


async def serve(
    sockets: Path, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer on the socket in the folder ``sockets`` until cancelled; only our own user and root may ask."""
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    path = sockets / SOCKET
    await listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    activity().doing("answers that the process is alive")
    await trio.serve_listeners(_answer, [trio.SocketListener(listener)], task_status=task_status)


async def _answer(stream: trio.SocketStream) -> None:
    async with stream:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(SEND_SECONDS):
            await stream.send_all(ANSWER)


async def ask(sockets: Path, seconds: float) -> str | None:
    """Return why the process whose sockets are in ``sockets`` does not answer within ``seconds``; None if it does."""
    try:
        with trio.fail_after(seconds):
            async with await trio.open_unix_socket(str(sockets / SOCKET)) as stream:
                received = b"".join([part async for part in stream])
    except trio.TooSlowError:
        return f"does not answer within {seconds:g} s"
    except (FileNotFoundError, ConnectionRefusedError):
        return "none runs there"
    except PermissionError:
        return "ask as the user who runs it, or as root"
    except (OSError, trio.BrokenResourceError) as error:
        return str(error) or type(error).__name__
    return None if received == ANSWER else "closed the connection without an answer"
