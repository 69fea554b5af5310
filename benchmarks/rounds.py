"""The rounds of the benchmark: each measures one thing once, on running servers.

* Throughput: from the first publish to the first query of the accounting that finds all of it committed; a query every
  10 ms. ``mosquitto_sub``: to its end. COPY: from before the first batch to after the last commit, once in the largest
  batches the appliance makes, and once in batches of the size that it made on average in its own round.
* CPU: user and system of the appliance's own process, from /proc, all threads, over the same time.
* Latency: one connection publishes at a steady rate and notes the moment of each message; a second one queries
  the accounting every millisecond. Commits keep the order of publication, so the query that first finds k messages
  dates the k-th. It is the time until another session sees the row, up to a millisecond too long and never too short.
  (The commit timestamp of Postgres would be too short: it is taken before the commit is on the disk.)
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from appliance.db.roles import INGEST, OWNER
from benchmarks import copying, load, surroundings
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.measurements import latencies, percentile
from benchmarks.messages import Stream
from benchmarks.result import Latency, Pair
from benchmarks.rules import Rules
from benchmarks.storage import Ledger, copy_statement, make_table
from benchmarks.subscriber import PrivateBroker
from benchmarks.worker import Worker

DEVICES = 1_000
COPY_BATCH = 2_048  # the largest of the appliance's
WARM_UP = 20_000
LEDGER_PAUSE = 0.01
LATENCY_PAUSE = 0.001
MICRO = 1e6
LEAD = 5.0
"""Seconds by which the times of a live stream are ahead when it is prepared: none of its messages counts as delayed by
its device when it is sent."""


class Bench:
    """One run: a started appliance, a private broker beside it, and what is measured with them."""

    def __init__(self, appliance: ApplianceProcess, broker: PrivateBroker, messages: int, delay: float) -> None:
        self._appliance = appliance
        self._broker = broker
        self._messages = messages
        self._ahead = LEAD - delay
        self._device = appliance.claim_user()
        self._ledger = Ledger(appliance.conninfo(INGEST))
        self._rules = Rules(appliance.conninfo(OWNER), self._device.username, appliance.rules_in_force)
        self._copy = copy_statement()
        self._batch = COPY_BATCH
        """Messages in a batch of the appliance in its last round, on average."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rules.close()
        self._ledger.close()

    def warm_up(self) -> None:
        """Register all devices and fill the caches once, unmeasured; then create the other table."""
        self.appliance_round(self._stream(WARM_UP))
        make_table(self._appliance.conninfo(OWNER), INGEST)

    def pair(self, number: int) -> Pair:
        """Run one round of each, in an order that rotates from pair to pair."""
        found: dict[str, float] = {}

        def appliance() -> None:
            found["yardstick"] = surroundings.yardstick() * 1000
            found["appliance"], found["cpu"], found["load_cpu"] = self.appliance_round(self._stream(self._messages))

        def judging() -> None:
            with self._rules.on():
                self._settle_rules()
                found["judging"], found["judging_cpu"], _ = self.appliance_round(self._stream(self._messages))

        def broker() -> None:
            found["broker"] = self.broker_round(self._stream(self._messages))

        def database() -> None:
            found["database"] = self.copy_round(self._stream(self._messages), COPY_BATCH)

        def database_alike() -> None:
            found["batch"] = self._batch
            found["database_alike"] = self.copy_round(self._stream(self._messages), self._batch)

        rounds: list[Callable[[], None]] = [appliance, judging, broker, database, database_alike]
        for index in range(len(rounds)):
            rounds[(number + index) % len(rounds)]()
        return Pair(**found)

    def appliance_round(self, stream: Stream) -> tuple[float, float, float]:
        """Return the committed messages a second, and the CPU microseconds a message of appliance and load."""
        received, stored = self._ledger.counts()
        assert self._appliance.running is not None
        plan = self._plan(self._appliance.running.mqtt_host, self._appliance.running.mqtt_port, stream)
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            batches = self._appliance.batches()
            before = self._appliance.cpu()
            publisher.go()
            committed = self._ledger.until(received + stream.count, LEDGER_PAUSE)[-1][0]
            cpu = self._appliance.cpu() - before
            report = publisher.report()
            self._batch = round(stream.count / (self._appliance.batches() - batches))
        if self._ledger.counts() != (received + stream.count, stored + stream.count):
            refused = self._ledger.refusals() or "as duplicates"
            raise SystemExit(f"the appliance refused messages, so nothing measured means anything: {refused}")
        return (
            stream.count / (committed - report.started),
            cpu / stream.count * MICRO,
            report.cpu / stream.count * MICRO,
        )

    def broker_round(self, stream: Stream) -> float:
        """Return the messages a second that ``mosquitto_sub`` receives."""
        plan = self._plan(self._broker.host, self._broker.port, stream)
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            subscription = self._broker.subscribe(stream.count)
            publisher.go()
            ended = subscription.ended()
            return stream.count / (ended - publisher.report().started)

    def copy_round(self, stream: Stream, batch: int) -> float:
        """Return the rows a second of bare COPY, ``batch`` rows a transaction."""
        plan = copying.Plan(self._appliance.conninfo(INGEST), self._copy, stream, batch)
        with Worker("benchmarks.copying", plan, copying.Report) as copier:
            report = copier.run()
        return stream.count / (report.committed - report.started)

    def latency(self, rate: float, seconds: float) -> Latency:
        """Measure publish to commit at a steady rate. Each message has the time at which it leaves."""
        time.sleep(max(0.0, self._ahead))  # no earlier than those sent before, or it would be late
        received, _ = self._ledger.counts()
        stream = self._stream(int(rate * seconds))
        assert self._appliance.running is not None
        plan = self._plan(self._appliance.running.mqtt_host, self._appliance.running.mqtt_port, stream, rate)
        with Worker("benchmarks.load", plan, load.Report) as publisher:
            publisher.go()
            seen = self._ledger.until(received + stream.count, LATENCY_PAUSE)
            report = publisher.report()
        waits = latencies(report.published, [(moment, count - received) for moment, count in seen])
        p50, p95, p99, highest = (percentile(waits, share) * 1000 for share in (0.5, 0.95, 0.99, 1))
        return Latency(rate, len(waits), p50, p95, p99, highest)

    def memory_with(self, devices: int) -> int:
        """Return the resident bytes after each of so many devices has sent two messages."""
        self.appliance_round(Stream(self._device.username, devices, 2 * devices, time.time_ns() // 1_000_000))
        return self._appliance.memory()[0]

    def _settle_rules(self) -> None:
        """Let every device be heard, and wait until its windows are filled."""
        self.appliance_round(self._stream(2 * DEVICES))
        while self._appliance.windows_filling():
            time.sleep(LEDGER_PAUSE)

    def memory_judging(self, devices: int) -> int:
        """Return the same with rules in force."""
        with self._rules.on():
            return self.memory_with(devices)

    def _stream(self, count: int) -> Stream:
        return Stream(self._device.username, DEVICES, count, time.time_ns() // 1_000_000 + round(1000 * self._ahead))

    def _plan(self, host: str, port: int, stream: Stream, rate: float = 0.0) -> load.Plan:
        return load.Plan(host, port, stream, self._device.username, self._device.password, rate=rate)
