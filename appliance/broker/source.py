"""Passes the broker's messages to the pipeline, and acknowledges them after the commit.

Enters: batches of the MQTT client. Leaves: submissions; PUBACKs in arrival order, one write a batch (MQTT 5 §4.6).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import trio

from appliance.failpoints import Failpoints
from appliance.ingest.batch import Batch, Settlement, Submission
from appliance.ingest.batch_buffer import RECEIPT_SPAN_SECONDS
from appliance.ingest.pipeline import Pipeline
from appliance.mqtt.client import Client
from appliance.mqtt.inbox import InboundBatch
from appliance.reading import Inbound
from appliance.runtime.activity import activity

FIRST_PUBACK = "after_first_puback"
NO_PACKETS: frozenset[int] = frozenset()


class BrokerSource:
    """The pipeline's source of MQTT messages."""

    def __init__(
        self,
        client: Client,
        pipeline: Pipeline,
        batch_size: int,
        failpoint: Failpoints,
        on_redelivered: Callable[[int], None],
        on_admitted: Callable[[Batch], None] | None,
        on_settled: Callable[[Sequence[Inbound]], None] | None,
    ) -> None:
        """``on_admitted`` is told what the checks made of messages, ``on_settled`` of those that are committed.

        Both are quick, and never wait.
        """
        self._client = client
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._failpoint = failpoint
        self._on_redelivered = on_redelivered
        self._on_admitted = on_admitted
        self._on_settled = on_settled

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Submit the broker's messages until cancelled; those not submitted are not acknowledged and are sent again."""
        activity().doing("passes on what the broker sends")
        task_status.started()
        async for batch in self._client.batches(self._batch_size, RECEIPT_SPAN_SECONDS):
            again = [packet.duplicate for packet in batch.packets]
            redelivered = (
                frozenset(index for index, marked in enumerate(again) if marked) if True in again else NO_PACKETS
            )
            self._on_redelivered(len(redelivered))
            qos0 = _qos0(batch) if batch.count < len(batch.packets) else NO_PACKETS
            await self._pipeline.submit(
                Submission(
                    batch.packets, batch.received, self._acknowledger(batch), qos0, redelivered, self._on_admitted
                )
            )

    def _acknowledger(self, batch: InboundBatch) -> Callable[[Settlement], Awaitable[None]]:
        async def acknowledge(settlement: Settlement) -> None:
            if self._on_settled is not None:
                self._on_settled(batch.packets)
            rest = batch
            if self._failpoint.name == FIRST_PUBACK and batch.count:
                await self._client.acknowledge(replace(batch, count=1))
                self._failpoint(FIRST_PUBACK)
                rest = replace(batch, first=batch.first + 1, count=batch.count - 1)
            if settlement.more_follow:
                self._client.acknowledge_soon(rest)  # it leaves in one write with what follows
            else:
                await self._client.acknowledge(rest)

        return acknowledge


def _qos0(batch: InboundBatch) -> frozenset[int]:
    return frozenset(index for index, packet in enumerate(batch.packets) if packet.packet_id is None)
