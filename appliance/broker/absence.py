"""Reports the time without a link to the broker, in which the silence of a device counts for nothing."""

from collections.abc import Callable

import trio

from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity


async def watch_link(client: Client, away: Callable[[float], None], *, task_status: trio.TaskStatus[None]) -> None:
    """Call ``away`` with the seconds without a link, each time that there is one again; for ever."""
    lost_at: float | None = None
    activity().doing("credits rate limits for the time without a connection")
    task_status.started()
    async for link in client.link_changes():
        if link.state is LinkState.READY:
            if lost_at is not None:
                away(trio.current_time() - lost_at)
            lost_at = None
        elif lost_at is None:
            lost_at = trio.current_time()
