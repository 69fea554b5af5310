"""What is counted and measured, for /metrics. One registry a process, handed to whoever counts; never a device id."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The appliance's metrics. Names follow Prometheus: base units, ``_total`` for counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "appliance_messages", "Messages by committed outcome", ["outcome"], registry=self.registry
        )
        self.refusals = Counter("appliance_refusals", "Refused messages by reason", ["reason"], registry=self.registry)
        self.invalid_json = Counter(
            "invalid_json", "Messages whose payload is no JSON (reason INVALID_JSON)", registry=self.registry
        )
        self.invalid_encoding = Counter(
            "invalid_encoding", "Messages whose payload is no UTF-8 (reason INVALID_ENCODING)", registry=self.registry
        )
        self.null_metrics = Counter("appliance_null_metrics", "Metrics left out as null", registry=self.registry)
        self.unplaced = Counter(
            "appliance_unplaced_positions",
            "Messages with a part of a position or an impossible one, which stays among the metrics",
            registry=self.registry,
        )
        self.registry_lookups = Counter(
            "appliance_registry_lookups",
            "Devices of a batch that were not in the registry cache",
            registry=self.registry,
        )
        self.redelivered = Counter(
            "appliance_redelivered_messages", "Messages the broker sent again (DUP)", registry=self.registry
        )
        self.batch_size = Histogram(
            "appliance_batch_messages", "Messages in a batch", buckets=_SIZES, registry=self.registry
        )
        self.commit_seconds = Histogram(
            "appliance_commit_seconds", "Time of a batch's transaction", buckets=_SECONDS, registry=self.registry
        )
        self.latency_seconds = Histogram(
            "appliance_receive_to_commit_seconds",
            "From the receipt of a batch to its commit",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.store_retries = Counter(
            "appliance_store_retries", "Transactions tried again, by cause", ["cause"], registry=self.registry
        )
        self.restarts = Counter(
            "appliance_child_restarts", "Restarts of a child process", ["child"], registry=self.registry
        )
        self.broker_stored = Gauge(
            "appliance_broker_stored_messages", "Messages in the broker's store", registry=self.registry
        )
        self.broker_dropped = Gauge(
            "appliance_broker_dropped_messages",
            "Messages the broker dropped since its start, though it had acknowledged them",
            registry=self.registry,
        )
        self.buckets_tracked = Gauge("appliance_buckets_tracked", "Token buckets in memory", registry=self.registry)
        self.buckets_cleared = Counter(
            "appliance_buckets_cleared", "Token buckets cleared by the janitor", registry=self.registry
        )
        self.broker_refusals = Counter(
            "appliance_door_refusals", "What the broker refused, as far as it tells", ["cause"], registry=self.registry
        )
        self.replayed = Counter(
            "appliance_replayed_messages",
            "Held messages that a replay has checked, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self.evicted = Counter(
            "appliance_evicted_messages",
            "Held messages evicted from quarantine, by cause: room or age",
            ["cause"],
            registry=self.registry,
        )
        self.devices = Gauge("appliance_devices", "Active devices by presence", ["presence"], registry=self.registry)
        self.ready = Gauge(
            "appliance_ready", "1 while messages are accepted and stored, as /readyz says", registry=self.registry
        )
        self.dropped_days = Counter(
            "appliance_dropped_days",
            "Days of readings dropped, by cause: age or ahead",
            ["cause"],
            registry=self.registry,
        )
        self.overdue_days = Gauge(
            "appliance_overdue_days", "Days of readings past their age that are not dropped yet", registry=self.registry
        )
        self.in_flight = Gauge(
            "appliance_messages_in_hand", "Messages received and not yet committed", registry=self.registry
        )

    def swept(self, cleared: int, tracked: int) -> None:
        """The janitor has made its round."""
        self.buckets_cleared.inc(cleared)
        self.buckets_tracked.set(tracked)

    def replayed_slice(self, *, stored: int, duplicate: int, refused: int, gone: int) -> None:
        """A replay has committed a part of its work; ``gone``: decided on or evicted by somebody else meanwhile."""
        for outcome, count in (("stored", stored), ("duplicate", duplicate), ("refused", refused), ("gone", gone)):
            self.replayed.labels(outcome).inc(count)

    def committed(self) -> float:
        """Messages committed since the start, whatever became of them."""
        samples = [sample for metric in self.messages.collect() for sample in metric.samples]
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)
