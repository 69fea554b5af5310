"""Start our programs by forking a process that has imported them: the imports are nearly all that a start costs.

A program of ours takes a second and a half of processor time until it begins, and the tests start hundreds. What is
forked differs from what is started anew in one thing: the seed of ``hash()`` is that of the server. Tests of programs
that meet one another start each anew, and so do those of a first start.

As a program, ``python -m tests.support.fork_server DESCRIPTOR MODULE...`` imports the modules and obeys the orders on
the socket that it inherits, until that is closed.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from tests.support.project import ROOT

ORDER_BYTES = 1 << 17
"""More than an environment takes."""
FILES = 256
"""More than the server has open."""


class Forked:
    """A program that was forked, with what tests use of ``subprocess.Popen``."""

    def __init__(self, server: "ForkServer", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._descriptor = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal; TimeoutExpired when it does not end in time."""
        ended = select.poll()
        ended.register(self._descriptor, select.POLLIN)
        if self.returncode is None and not ended.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        with self._lock:
            if self.returncode is None:
                self.returncode = self._server.exit_code(self.pid)
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._descriptor)


class ForkServer:
    """A process that has imported ``modules`` and forks; it ends with us."""

    def __init__(self, *modules: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno()), *modules],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def start(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> Forked:
        """Run a module as a program, as ``python -m`` does; the descriptors stay ours too."""
        order = {"module": module, "arguments": arguments, "env": dict(env)}
        return Forked(self, self._ask(order, stdin, stdout, stderr))

    def start_silent(self, module: str, arguments: Sequence[str], *, env: Mapping[str, str]) -> Forked:
        """Run a module as a program that nobody speaks to and nobody hears."""
        with Path(os.devnull).open("r+") as nothing:
            mute = nothing.fileno()
            return self.start(module, arguments, env=env, stdin=mute, stdout=mute, stderr=mute)

    def run(
        self, module: str, arguments: Sequence[str], *, env: Mapping[str, str], seconds: float, given: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a module as a program to its end and return what it said; TimeoutExpired when it does not end in time.

        ``given`` is its standard input.
        """
        with TemporaryFile() as entered, TemporaryFile() as output, TemporaryFile() as errors:
            entered.write(given.encode())
            entered.seek(0)
            started = self.start(
                module, arguments, env=env, stdin=entered.fileno(), stdout=output.fileno(), stderr=errors.fileno()
            )
            try:
                code = started.wait(seconds)
            finally:
                started.kill()
            return subprocess.CompletedProcess([module, *arguments], code, _content(output), _content(errors))

    def exit_code(self, pid: int) -> int:
        """Return the exit code of a program that has ended, and forget it."""
        return self._ask({"ended": pid})

    def close(self) -> None:
        """End the server; what it has started goes on."""
        self._control.close()
        self._process.wait()

    def _ask(self, order: Mapping[str, Any], *descriptors: int) -> int:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)
            answer = self._control.recv(ORDER_BYTES)
        assert answer, "the fork server has ended"
        return int(answer)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@functools.cache
def programs() -> ForkServer:
    """Return the server with all of the appliance's modules imported, and nothing of the tests."""
    return ForkServer("appliance")


@functools.cache
def dashboards() -> ForkServer:
    """Return the server for dashboards of tests."""
    return ForkServer("tests.support.web.compile_ahead", "tests.support.web.demo_fixture")


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Obey orders; in a forked process, run the program that was ordered."""
    control = socket.socket(fileno=descriptor)
    for module in modules:
        _import(module)
    assert threading.active_count() == 1, "a fork takes one thread along"
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, *_ = socket.recv_fds(control, ORDER_BYTES, 3)
        if not message:
            return
        order = json.loads(message)
        if "ended" in order:
            code = os.waitstatus_to_exitcode(os.waitpid(order["ended"], 0)[1])
            control.send(str(code).encode())
        elif pid := os.fork():
            for each in descriptors:
                os.close(each)
            control.send(str(pid).encode())
        else:
            control.detach()
            _become(order, descriptors)
            runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
            return


def _import(name: str) -> None:
    """Import a module, and with a package all that is in it but what runs as a program."""
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)


def _become(order: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Take the place that an order describes: descriptors, environment, arguments."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, FILES)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    sys.argv = [order["module"], *order["arguments"]]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
