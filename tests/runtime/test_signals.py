"""Which signals ask the appliance to stop."""

import os
import signal
from collections.abc import Iterator

import pytest
import structlog.testing
import trio
import trio.testing

from appliance.runtime.signals import StopSignal


@pytest.fixture
def hang_up() -> Iterator[None]:
    """What SIGHUP does is as it was afterwards."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize("ignored", [False, True], ids=["", "under nohup"])
async def test_a_terminal_that_is_closed_drains_it_unless_it_ignores_that(*, ignored: bool) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda *_: None)
    with structlog.testing.capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            stop = StopSignal(nursery.cancel_scope)
            await nursery.start(stop.watch_signals)
            os.kill(os.getpid(), signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    assert [line["signal"] for line in lines] == ([] if ignored else ["SIGHUP"])
