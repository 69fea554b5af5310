"""What is counted and measured, for /metrics. One registry a process, handed to whoever counts; never a device id."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 4, 16, 64, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The appliance's metrics. Names follow Prometheus: base units, ``_total`` for counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self.messages = counter("appliance_messages", "Messages by committed outcome", ["outcome"])
        self.refusals = counter("appliance_refusals", "Refused messages by reason", ["reason"])
        self.invalid_json = counter("invalid_json", "Messages whose payload is no JSON (reason INVALID_JSON)")
        self.invalid_encoding = counter(
            "invalid_encoding", "Messages whose payload is no UTF-8 (reason INVALID_ENCODING)"
        )
        self.null_metrics = counter("appliance_null_metrics", "Metrics left out as null")
        self.unplaced = counter(
            "appliance_unplaced_positions",
            "Messages with a part of a position or an impossible one, which stays among the metrics",
        )
        self.registry_lookups = counter(
            "appliance_registry_lookups", "Devices of a batch that were not in the registry cache"
        )
        self.redelivered = counter("appliance_redelivered_messages", "Messages the broker sent again (DUP)")
        self.batch_size = histogram("appliance_batch_messages", "Messages in a batch", buckets=_SIZES)
        self.commit_seconds = histogram("appliance_commit_seconds", "Time of a batch's transaction", buckets=_SECONDS)
        self.latency_seconds = histogram(
            "appliance_receive_to_commit_seconds", "From the receipt of a batch to its commit", buckets=_SECONDS
        )
        self.store_retries = counter("appliance_store_retries", "Transactions tried again, by cause", ["cause"])
        self.restarts = counter("appliance_child_restarts", "Restarts of a child process", ["child"])
        self.buckets_tracked = gauge("appliance_buckets_tracked", "Token buckets in memory")
        self.buckets_cleared = counter("appliance_buckets_cleared", "Token buckets cleared by the janitor")
        self.replayed = counter(
            "appliance_replayed_messages", "Held messages that a replay has checked, by outcome", ["outcome"]
        )
        self.evicted = counter(
            "appliance_evicted_messages", "Held messages evicted from quarantine, by cause: room or age", ["cause"]
        )
        self.devices = gauge("appliance_devices", "Active devices by presence", ["presence"])
        self.ready = gauge("appliance_ready", "1 while messages are accepted and stored, as /readyz says")
        self.dropped_days = counter(
            "appliance_dropped_days", "Days of readings dropped, by cause: age, max_bytes, disk or ahead", ["cause"]
        )
        self.overdue_days = gauge("appliance_overdue_days", "Days of readings past their age that are not dropped yet")
        self.in_flight = gauge("appliance_messages_in_hand", "Messages received and not yet committed")
        self.certificate_ends = gauge(
            "appliance_certificate_expiry_timestamp_seconds",
            "When the certificate of a listener under TLS ends, in seconds since 1970",
            ["listener"],
        )
        self.clock_trusted = gauge(
            "appliance_clock_trusted", "1 while the machine's clock agrees with service time, 0 while it is in doubt"
        )
        self._add_broker()
        self._add_alerts()
        self._add_deliveries()
        self._add_disk()
        self._add_backups()

    def _add_deliveries(self) -> None:
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.deliveries = counter(
            "appliance_deliveries",
            "Tries of deliveries by type of integration and outcome: delivered, retry, refused, gone or unreached",
            ["type", "outcome"],
        )
        self.delivery_queue = gauge(
            "appliance_delivery_queue",
            "Notices that are not delivered yet: due, held until later, retrying, without a way out, or being sent",
            ["state"],
        )
        self.integrations_failing = gauge(
            "appliance_integrations_failing", "Enabled integrations whose newest try failed, by type", ["type"]
        )
        self.proven_seconds = gauge(
            "appliance_end_to_end_proven_seconds",
            "Seconds since a probe message passed broker, commit, rule and outbox; before the first, since the start",
        )
        self.heartbeats = counter(
            "appliance_heartbeats",
            "Calls of the heartbeat URL by outcome: ok, fail, or lost without an answer",
            ["outcome"],
        )
        self.task_restarts = counter("appliance_task_restarts", "Tasks that began anew after an error", ["task"])

    def _add_broker(self) -> None:
        """The broker, as far as it tells."""
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.broker_stored = gauge("appliance_broker_stored_messages", "Messages in the broker's store")
        self.broker_dropped = gauge(
            "appliance_broker_dropped_messages",
            "Messages the broker dropped since its start, though it had acknowledged them",
        )
        self.broker_refusals = counter(
            "appliance_door_refusals", "What the broker refused, as far as it tells", ["cause"]
        )
        self.broker_allocated = gauge("appliance_broker_allocated_bytes", "Memory that the broker has allocated")
        self.broker_resident = gauge("appliance_broker_resident_bytes", "Memory of the embedded broker's process")
        self.broker_store = gauge("appliance_broker_store_bytes", "The embedded broker's file on disk")
        self.broker_retained = gauge(
            "appliance_broker_retained_messages", "Retained messages in the broker, its own statistics among them"
        )
        self.broker_floods = counter(
            "appliance_broker_floods", "Users shut out of the broker for what they sent, by cause", ["cause"]
        )
        self.retained_cleared = counter("appliance_retained_cleared", "Retained messages cleared from the broker")
        self.broker_unsaved = gauge(
            "appliance_broker_unsaved", "1 while the broker cannot save its queue, which a stop of it would lose"
        )
        self.client_id_takeovers = counter(
            "appliance_client_id_takeovers",
            "Connections of devices that another client ended by using their client id, by how their users are related",
            ["users"],
        )
        self.client_id_shut_outs = counter(
            "appliance_client_id_shut_outs", "Users that were shut out for using another's name as their client id"
        )

    def _add_disk(self) -> None:
        gauge = partial(Gauge, registry=self.registry)
        self._disk_free = gauge("appliance_disk_free_bytes", "Bytes that are free on the disk of the data folder")
        self._disk_total = gauge("appliance_disk_total_bytes", "Size of the disk of the data folder")
        self._disk_reserve = gauge(
            "appliance_disk_reserve_bytes", "Bytes kept back for a full disk; 0 while they are given back"
        )
        self._disk_full = gauge("appliance_disk_full", "1 while the disk is full, and messages wait in the broker")

    def _add_backups(self) -> None:
        gauge = partial(Gauge, registry=self.registry)
        self.backups = Counter(
            "appliance_backups", "Nightly backups by result: ok or failed", ["result"], registry=self.registry
        )
        self.backup_last_success = gauge(
            "appliance_backup_last_success_timestamp_seconds",
            "When the last good nightly backup was whole, in seconds since 1970; 0 without one",
        )
        self.backup_seconds = gauge("appliance_backup_duration_seconds", "How long the last good one took")
        self.backup_bytes = gauge("appliance_backup_bytes", "Size of the last good one")

    def _add_alerts(self) -> None:
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.open_alerts = gauge(
            "appliance_open_alerts",
            "Alerts that wait for somebody (not acknowledged, silenced or inhibited), by severity",
            ["severity"],
        )
        self.evaluations = counter(
            "appliance_rule_evaluations", "Readings judged by a rule, beyond a comparison with bounds"
        )
        self.rules_in_force = gauge("appliance_rules_in_force", "Rules that readings are judged by")
        self.windows_filling = gauge(
            "appliance_windows_filling", "Windows of rules that are not filled from telemetry yet"
        )
        self.rule_errors = counter("appliance_rule_errors", "Rules that raised an error and are skipped")

    def disk(self, free: int, total: int, reserve: int, *, full: bool) -> None:
        """The disk was looked at. Sizes are bytes."""
        self._disk_free.set(free)
        self._disk_total.set(total)
        self._disk_reserve.set(reserve)
        self._disk_full.set(full)

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
