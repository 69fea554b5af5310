"""Opens the device listener once the appliance's session can take messages, and closes it when the session is lost.

A broker without our subscription acknowledges what devices publish and drops it. So the embedded broker's device
listener follows the state of our session: subscribed and kept in the broker's store -> open; lost -> close, subscribe,
open again. With an external broker there is no listener of ours; a lost session is only reported.
"""

import structlog
import trio

from appliance.broker.clients import SESSION_SECONDS
from appliance.broker.session_terms import shortfall
from appliance.children.mosquitto import Mosquitto
from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5
LOST = "broker state lost: what devices sent while the session was gone was not kept"


async def keep_gate(
    client: Client, mosquitto: Mosquitto, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Follow the link until cancelled; started when the listener is open for the first time."""
    announced = False
    async for link in client.link_changes():
        if link.state is not LinkState.READY:
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


async def watch_session(client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """For an external broker: report when it has lost a session that we had, and what it does not grant us."""
    had_session, told = False, None
    task_status.started()
    async for link in client.link_changes():
        if link.state is not LinkState.READY:
            continue
        if had_session and not link.session_present:
            log.error(LOST)
        had_session = True
        missing = shortfall(link.connack, SESSION_SECONDS)
        if missing is not None and missing != told:
            log.warning("the broker grants our session less than it should", missing=missing)
        told = missing
