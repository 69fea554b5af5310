"""Statistics of measurements: medians and ranges, percentiles, and the table that shows them. Pure."""

import math
import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """The middle of several rounds, and the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Line(msgspec.Struct, frozen=True):
    """A line of the table: what, its value or spread as text, what the rounds ranged over, and what is aimed at."""

    name: str
    value: str
    spread: str = ""
    aim: str = ""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1]


def latencies(published: Sequence[float], seen: Sequence[tuple[float, int]]) -> list[float]:
    """Return for each message the seconds from its publication to the first query that found it committed.

    ``published`` are moments in the order of publication, ``seen`` are (moment, messages committed by then); commits
    keep that order. A message that no query found is left out.
    """
    found: list[float] = []
    for moment, committed in seen:
        known = len(found)
        found += [moment - at for at in published[known : max(committed, known)]]
    return found


def line(name: str, values: Sequence[float], places: int = 0, *, aim: str = "") -> Line:
    """Return a line of several rounds with that many decimal places."""
    spread = Spread.of(values)
    return Line(name, f"{spread.median:,.{places}f}", f"{spread.low:,.{places}f} - {spread.high:,.{places}f}", aim)


HEAD = ("", "median", "range", "aim")


def table(lines: Sequence[Line], head: tuple[str, str, str, str] = HEAD) -> str:
    """Return the lines in columns under a head, names to the left and numbers to the right."""
    rows = [head, *((one.name, one.value, one.spread, one.aim) for one in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {spread:>{widths[2]}}  {aim:<{widths[3]}}".rstrip()
        for name, value, spread, aim in rows
    )
