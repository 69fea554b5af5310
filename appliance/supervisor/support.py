"""The support bundle for pages: made by the command, in a process of its own, as somebody at the console makes it."""

import subprocess
from collections.abc import Awaitable, Callable

import structlog
import trio

from appliance.errors import Busy
from appliance.own_command import own_command

log = structlog.get_logger(__name__)

BUNDLE_SECONDS = 180.0
"""Seconds for all of it; the checks of the doctor read whole tables."""
ELSEWHERE = "On the machine, `appliance support-bundle` makes one, too."


def support_bundle() -> Callable[[], Awaitable[bytes]]:
    """Return a function that makes a bundle, one at a time. It raises Busy while another is made, and when it fails."""
    one = trio.Semaphore(1)

    async def make() -> bytes:
        try:
            one.acquire_nowait()
        except trio.WouldBlock:
            raise Busy("A support bundle is being made: ask again in a moment.") from None
        try:
            with trio.fail_after(BUNDLE_SECONDS):
                # nice: what a message waits for goes before what somebody reads later
                done = await trio.run_process(
                    ["nice", *own_command("support-bundle", "-")], capture_stdout=True, capture_stderr=True, check=False
                )
        except trio.TooSlowError:
            raise Busy(f"The support bundle took longer than {BUNDLE_SECONDS:.0f} s. {ELSEWHERE}") from None
        finally:
            one.release()
        return _content(done)

    return make


def _content(done: "subprocess.CompletedProcess[bytes]") -> bytes:
    if done.returncode != 0:
        log.warning("no support bundle could be made", code=done.returncode, said=done.stderr.decode(errors="replace"))
        raise Busy(f"The support bundle could not be made: the log says why. {ELSEWHERE}")
    return done.stdout
