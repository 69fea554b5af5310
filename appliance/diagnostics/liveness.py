"""Whether the process is alive: answered on a Unix socket beside the data folder, from the first moment to the last.

It is there before the dashboard is: a start that waits for room on the disk, for the database or for a broker is alive.
An answer says that the event loop runs, and nothing of readiness.
"""

from pathlib import Path

import trio

from appliance.diagnostics import answer_socket

SOCKET = "liveness"
ANSWER = b"alive\n"
SEND_SECONDS = 1.0
"""Seconds that whoever asks may take to read the answer."""


async def serve(
    sockets: Path, *, task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer on the socket in the folder ``sockets`` until cancelled; only our own user and root may ask."""
    await answer_socket.serve(
        sockets,
        SOCKET,
        lambda: ANSWER,
        seconds=SEND_SECONDS,
        doing="answers that the process is alive",
        task_status=task_status,
    )


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
