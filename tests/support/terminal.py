"""A program that asks on its terminal, and gets answers."""

import os
import pty
import select
from collections.abc import Sequence

SECONDS = 60.0


def on_terminal(argv: Sequence[str], answers: Sequence[str]) -> str:
    """Run a program on a terminal of its own and answer each of its questions; return what it wrote.

    A question is what ends with a colon or a question mark and a space. Raises AssertionError when it fails.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(argv[0], list(argv))
    written, rest, seen = bytearray(), list(answers), 0
    while select.select([terminal], [], [], SECONDS)[0]:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the program has closed its end
            break
        if not piece:
            break
        written += piece
        if rest and any(mark in written[seen:] for mark in (b": ", b"? ")):
            seen = len(written)
            os.write(terminal, rest.pop(0).encode() + b"\n")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    text = written.decode(errors="replace")
    assert os.waitstatus_to_exitcode(status) == 0, text
    return text
