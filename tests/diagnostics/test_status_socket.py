"""The process tells of itself on a socket that only its own user can open."""

import stat
from pathlib import Path

import pytest
import trio

from appliance.diagnostics import status_socket
from appliance.diagnostics.status_socket import SOCKET, ask, serve


async def test_it_tells_again_and_again(tmp_path: Path, nursery: trio.Nursery) -> None:
    told = [{"long": "x" * 1_000_000}, {"age": 2.0}]
    answers = iter(told)
    await nursery.start(serve, tmp_path, lambda: next(answers))
    assert [await ask(tmp_path), await ask(tmp_path)] == told
    assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600


async def test_an_answer_without_end_is_not_read(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_socket, "MAX_ANSWER", 1000)
    await nursery.start(serve, tmp_path, lambda: {"long": "x" * 1_000_000})
    with pytest.raises(ValueError, match="too long"):
        await ask(tmp_path)


async def test_where_no_process_is_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ask(tmp_path)
