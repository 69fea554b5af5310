"""Runs Python programs in processes of their own, and reads what they print."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.support.project import ROOT

DEADLINE = 30.0


class Running:
    """A program that runs."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._text = b""

    async def line(self) -> str:
        """Return the next line that it prints; an empty one at its end."""
        assert self._process.stdout is not None
        while b"\n" not in self._text:
            data = bytes(await self._process.stdout.receive_some())
            if not data:
                break
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    async def rest(self) -> list[str]:
        """Wait for its end; return what else it prints. Raises AssertionError if it fails."""
        lines = []
        while line := await self.line():
            lines.append(line)
        assert await self._process.wait() == 0
        return lines

    async def failure(self) -> str:
        """Wait for its failure; return what it says of it."""
        assert self._process.stderr is not None
        said = b""
        async for data in self._process.stderr:
            said += data
        assert await self._process.wait() != 0
        return said.decode()


@asynccontextmanager
async def running(source: str, folder: Path, *arguments: str) -> AsyncGenerator[Running, None]:
    """Run a program, in a folder of its own; kill it at the end."""
    path = folder / "program.py"
    path.write_text(source)
    process = await trio.lowlevel.open_process(
        [sys.executable, str(path), *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        with trio.fail_after(DEADLINE):
            yield Running(process)
    finally:
        process.kill()
        await process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            await stream.aclose()
