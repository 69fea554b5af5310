"""Processes of a running appliance: find one, freeze it, and read what the kernel counts of it."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.appliance_process import ApplianceProcess


def freeze(postmaster: int) -> list[int]:
    """Stop a postmaster and its children, and return their pids. The postmaster first: stopped, it starts no other.

    A child may end while we look for it.
    """
    os.kill(postmaster, signal.SIGSTOP)
    frozen = [postmaster]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == postmaster:
                    os.kill(int(entry.name), signal.SIGSTOP)
                    frozen.append(int(entry.name))
    return frozen


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child(appliance: ApplianceProcess, program: str) -> int:
    """Return the pid of a child that is the program itself, not one of its workers."""
    assert appliance.process is not None
    for pid in appliance.children():
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        if status["Name"] == program and int(status["PPid"]) == appliance.process.pid:
            return pid
    raise AssertionError(f"no {program} among the children\n{appliance.tail()}")
