"""The results of the benchmark: as JSON, and as a table for the terminal."""

import msgspec

from benchmarks.measurements import Line, line, table

MEGABYTE = 1e6


class Pair(msgspec.Struct, frozen=True):
    """One round of each, in messages or rows a second; CPU in microseconds a message.

    ``database_alike``: COPY in batches of ``batch`` rows, the mean of the appliance's.
    ``judging``: the appliance with 200 rules, 20 of them with a state.
    ``yardstick``: CPU milliseconds of a fixed piece of Python just before. Virtual machines change their speed by the
    minute, and neighbours cost caches: CPU figures compare only at a like yardstick.
    """

    appliance: float
    broker: float
    database: float
    database_alike: float
    batch: float
    cpu: float
    load_cpu: float
    yardstick: float
    judging: float
    judging_cpu: float


class Latency(msgspec.Struct, frozen=True):
    """Publish to commit at ``rate`` messages a second, in milliseconds."""

    rate: float
    messages: int
    p50: float
    p95: float
    p99: float
    highest: float


class Result(msgspec.Struct, frozen=True):
    """All of one run. Starts, stop and ``seconds`` are seconds, memory is bytes, of the appliance's own process."""

    date: str
    machine: str
    commit: str
    versions: list[str]
    messages: int
    devices: int
    metrics: int
    pairs: list[Pair]
    latency: Latency
    cold_start: float
    warm_start: float
    stop: float
    peak_memory: int
    many_devices: int
    memory_many_devices: int
    memory_judging: int
    seconds: float


def lines(result: Result) -> list[Line]:
    """Return the table's lines, each with what is aimed at."""
    pairs, latency = result.pairs, result.latency
    rate = f"at {latency.rate:,.0f}/s, ms"
    return [
        line("appliance, committed messages/s", [pair.appliance for pair in pairs]),
        line("mosquitto_sub, messages/s", [pair.broker for pair in pairs]),
        line("bare COPY, largest batches, rows/s", [pair.database for pair in pairs]),
        line("bare COPY, the appliance's batches, rows/s", [pair.database_alike for pair in pairs]),
        line("the appliance's batches, messages", [pair.batch for pair in pairs]),
        line("appliance / mosquitto_sub", [pair.appliance / pair.broker for pair in pairs], 2, aim=">= 0.8"),
        line("appliance / bare COPY, largest", [pair.appliance / pair.database for pair in pairs], 2, aim=">= 0.5"),
        line(
            "appliance / bare COPY, its own", [pair.appliance / pair.database_alike for pair in pairs], 2, aim=">= 0.5"
        ),
        line("CPU of the appliance, us a message", [pair.cpu for pair in pairs], 1, aim="<= 12"),
        line("with 200 rules, committed messages/s", [pair.judging for pair in pairs]),
        line("with 200 rules / without", [pair.judging / pair.appliance for pair in pairs], 2, aim=">= 0.8"),
        line("CPU with 200 rules, us a message", [pair.judging_cpu for pair in pairs], 1),
        line("CPU of the load, us a message", [pair.load_cpu for pair in pairs], 1),
        line("yardstick, a fixed loop of Python, CPU ms", [pair.yardstick for pair in pairs], 1),
        Line(f"publish to commit {rate}: p50", f"{latency.p50:.1f}", aim="<= 15"),
        Line("p95", f"{latency.p95:.1f}"),
        Line("p99", f"{latency.p99:.1f}", aim="<= 50"),
        Line("highest", f"{latency.highest:.1f}"),
        Line("memory, most, MB", f"{result.peak_memory / MEGABYTE:.0f}"),
        Line(
            f"memory with {result.many_devices:,} devices, MB",
            f"{result.memory_many_devices / MEGABYTE:.0f}",
            aim="< 150",
        ),
        Line(
            "more of it with 200 rules, MB",
            f"{(result.memory_judging - result.memory_many_devices) / MEGABYTE:.0f}",
            aim="<= 60",
        ),
        Line("first start, s", f"{result.cold_start:.1f}", aim="<= 15"),
        Line("later start, s", f"{result.warm_start:.1f}", aim="<= 3"),
        Line("stop, s", f"{result.stop:.1f}", aim="<= 5"),
    ]


def report(result: Result) -> str:
    """Return the text printed at the end."""
    head = [
        f"{result.date}  {result.commit}  {result.machine}",
        ", ".join(result.versions),
        (
            f"{len(result.pairs)} pairs of {result.messages:,} messages, QoS 1, {result.metrics} metrics, "
            f"{result.devices:,} devices; {result.seconds:.0f} s in all"
        ),
    ]
    return "\n".join([*head, "", table(lines(result))])
