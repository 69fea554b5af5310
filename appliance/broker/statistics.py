"""The broker's statistics under ``$SYS``: version, clients, stored and dropped messages."""

import structlog
import trio
from mqtt5 import QoS, RetainHandling

from appliance.metrics import Metrics
from appliance.mqtt.client import Client
from appliance.mqtt.errors import NegativeAckError

log = structlog.get_logger(__name__)

STORED = "$SYS/broker/store/messages/count"
RETAINED = "$SYS/broker/retained messages/count"
DROPPED = "$SYS/broker/publish/messages/dropped"
CONNECTED = "$SYS/broker/clients/connected"
ALLOCATED = "$SYS/broker/heap/current"
"""Bytes; only a broker that was built with memory tracking says so, as Debian's is."""
VERSION = "$SYS/broker/version"


class BrokerStatistics:
    """A second, light connection to the broker, so that its statistics never mix with the devices' messages."""

    def __init__(self, client: Client, metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics
        self.stored: int | None = None
        """Messages in the broker's store, retained ones included; None until first reported."""
        self.retained: int | None = None
        """Retained messages among them, its own statistics included; None until first reported."""
        self.allocated: int | None = None
        """Bytes of memory that it has allocated; None while it does not say."""
        self.dropped: int | None = None
        """Messages it dropped since its start; None until first reported."""
        self.connected: int | None = None
        """Connected clients, our own two included; None until first reported."""
        self.version: str | None = None
        """For example ``2.0.11``; None until first reported."""
        self.refusal: str | None = None
        """Why the broker does not let us read its statistics; None while it does."""

    @property
    def waiting(self) -> int | None:
        """Messages that wait for us, the only client with a session: stored without retained ones."""
        return None if self.stored is None else max(0, self.stored - (self.retained or 0))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen until cancelled."""
        async with self._client as client:
            task_status.started()
            for topic in (STORED, RETAINED, DROPPED, CONNECTED, ALLOCATED, VERSION):
                await self._subscribe(client, topic)
            async for message in client.messages():
                self._take(message.topic, message.payload)

    async def _subscribe(self, client: Client, topic: str) -> None:
        """Subscribe to one of its statistics. Many brokers have none, and an ACL may close them: both are no fault."""
        try:
            await client.subscribe(topic, max_qos=QoS.AT_MOST_ONCE, retain_handling=RetainHandling.SEND_ALWAYS)
        except NegativeAckError as error:
            if self.refusal is None:
                log.info("the broker's statistics are not shown: its rules refuse them", reason=str(error))
            self.refusal = str(error)

    def _take(self, topic: str, payload: bytes) -> None:
        if topic == VERSION:
            self.version = payload.decode(errors="replace").rpartition(" ")[2][:32]
            return
        try:
            value = int(payload)
        except ValueError:
            return
        if topic == STORED:
            self.stored = value
            self._metrics.broker_stored.set(value)
        elif topic == RETAINED:
            self.retained = value
        elif topic == ALLOCATED:
            self.allocated = value
        elif topic == CONNECTED:
            self.connected = value
        elif topic == DROPPED:
            if value > (self.dropped or 0):
                # Beyond its limits a broker drops messages that it has acknowledged to the device: a loss to report.
                log.error("the broker dropped messages", dropped_since_its_start=value)
            self.dropped = value
            self._metrics.broker_dropped.set(value)
