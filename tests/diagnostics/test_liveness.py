"""The process answers that it is alive while its event loop runs, and only then."""

import socket
import stat
from pathlib import Path

import trio

from appliance.diagnostics.answer_socket import BACKLOG
from appliance.diagnostics.liveness import SOCKET, ask, serve

PATIENT = 10.0
IMPATIENT = 0.05


async def test_it_answers_again_and_again(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path)
    for _ in range(3):
        assert await ask(tmp_path, PATIENT) is None


async def test_only_our_own_user_may_ask(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path)
    assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600


async def test_who_does_not_read_the_answer_keeps_nobody_waiting(tmp_path: Path, nursery: trio.Nursery) -> None:
    await nursery.start(serve, tmp_path)
    streams = [await trio.open_unix_socket(str(tmp_path / SOCKET)) for _ in range(2 * BACKLOG)]
    assert await ask(tmp_path, PATIENT) is None
    for stream in streams:
        await stream.aclose()


async def test_a_process_that_hangs_is_not_alive(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hanging:  # the kernel accepts, and nobody answers
        hanging.bind(str(tmp_path / SOCKET))
        hanging.listen()
        assert await ask(tmp_path, IMPATIENT) == "does not answer within 0.05 s"


async def test_what_a_killed_process_has_left_is_not_alive(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))
    assert await ask(tmp_path, PATIENT) == "none runs there"


async def test_where_nothing_runs_nothing_is_alive(tmp_path: Path) -> None:
    assert await ask(tmp_path, PATIENT) == "none runs there"
