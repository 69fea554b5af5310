"""Runs the command line, and is the one place that turns an error into a line and an exit code.

Exit codes: 0 done, 1 failure, 2 usage or configuration, 130 interrupted (Ctrl+C, SIGTERM, SIGHUP).
"""

import os
import sys
import traceback
from typing import Protocol, runtime_checkable

import click

from appliance.cli import cli
from appliance.config import Log
from appliance.end_signals import ended_softly
from appliance.errors import ServiceEndedError
from appliance.logs import configure, encode

FAILURE = 1
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""


@runtime_checkable
class _PrintableError(Protocol):
    """An error that is printed as one line, without a traceback: an ``ApplianceError``, or one of the MQTT client."""

    exit_code: int


def run_program() -> int:
    """Run the command that ``sys.argv`` names and return its exit code."""
    _open_standard_streams()
    # Until a command says otherwise, output is its own, and what is logged beside it goes where errors go.
    configure(Log(level="warning"), sys.stderr)
    try:
        with ended_softly():
            # not standalone: click would print errors its own way, and exit
            result = cli.main(prog_name="appliance", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the outermost boundary of the process
        return report(error)
    return result if isinstance(result, int) else 0


def _open_standard_streams() -> None:
    """Open standard input, output and error if they are closed: else the next file that is opened takes their place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)  # for the programs that we start, too
            if opened != descriptor:
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def report(error: BaseException) -> int:
    """Print ``error`` to standard error, as one line or with its traceback, and return the exit code."""
    real = first_error(error)
    match real:
        case SystemExit(code=int(code)):
            return code
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED
        case BrokenPipeError():  # whoever read our output has read enough: appliance check-config | head -1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILURE
        case click.exceptions.NoArgsIsHelpError():
            real.show()
            return real.exit_code
        case click.ClickException():
            _print_error(_usage(real))
            return real.exit_code
        case _PrintableError():
            _print_error(str(real))
            return real.exit_code
    traceback.print_exception(real)
    _print_error(f"unexpected {type(real).__name__}: {real}")
    return FAILURE


def first_error(error: BaseException) -> BaseException:
    """Return the first real error in a group, which may be nested: nurseries wrap even a single error.

    That a service ended by itself is a real error only where nothing else is: it may have ended because of the other.
    """
    while isinstance(error, BaseExceptionGroup):
        real = [inner for inner in error.exceptions if not _interrupts(inner)]
        error = next((inner for inner in real if not _follows(inner)), (real or error.exceptions)[0])
    return error


def _follows(error: BaseException) -> bool:
    """Return whether ``error`` holds nothing but services that ended by themselves, and interrupts."""
    if isinstance(error, BaseExceptionGroup):
        return all(_follows(inner) or _interrupts(inner) for inner in error.exceptions)
    return isinstance(error, ServiceEndedError)


def _interrupts(error: BaseException) -> bool:
    """Return whether ``error`` holds only requests to end the process (KeyboardInterrupt, SystemExit)."""
    if isinstance(error, BaseExceptionGroup):
        return all(_interrupts(inner) for inner in error.exceptions)
    return not isinstance(error, Exception)


def _usage(error: click.ClickException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} (see {context.command_path} --help)"


def _print_error(message: str) -> None:
    print(f"error: {encode(message)}", file=sys.stderr)
