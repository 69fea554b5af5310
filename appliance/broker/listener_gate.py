"""Opens the device listener once the appliance's session can take messages, and closes it when the session is lost.

A broker without our subscription acknowledges what devices publish and drops it. So the embedded broker's device
listener follows the state of our session: subscribed and kept in the broker's store -> open; lost -> close, subscribe,
open again. With an external broker there is no listener of ours; ``session_watch`` tells what it loses.
"""

import structlog
import trio

from appliance.children.mosquitto import Mosquitto
from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
"""Seconds until the session subscribes again, where the broker's store does not hold its subscription."""
LOST = "broker state lost: what devices sent while the session was gone was not kept"


async def keep_gate(
    client: Client, mosquitto: Mosquitto, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Follow the link until cancelled; started when the listener is open for the first time."""
    announced = False
    async for link in client.link_changes():
        if link.state is not LinkState.READY:
            continue
        await mosquitto.ready.wait()  # our client may be back before the keeper has seen that the broker serves
        if client.link is not link:
            continue
        if not link.session_present and mosquitto.devices_open:
            log.error(LOST)
            await mosquitto.close_devices()
            continue
        if await mosquitto.open_devices():
            activity().doing("the device listener is open")
            if not announced:
                announced = True
                task_status.started()
        else:
            log.warning("the broker's store does not hold the subscription; subscribing again")
            await trio.sleep(RETRY_SECONDS)
            client.drop_connection()
