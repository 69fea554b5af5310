"""The address of a page with its filters, from which links and forms of a list are built."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode

from quart import request

MAX_PAIRS = 100
"""Pairs of a query that a form sends back as a field."""
PASSING = frozenset({"cursor", "done", "undo", "many"})
"""Parameters that belong to one view of a list and are dropped from links."""


@dataclass(frozen=True, slots=True)
class Address:
    """A path and its query; a name may have several values."""

    path: str
    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_request(cls) -> Self:
        """Return the address of the current request."""
        return cls(request.path, tuple(request.args.items(multi=True)))

    @classmethod
    def of_query(cls, path: str, query: str) -> Self:
        """Return a path with a query from :attr:`query`. Raises ValueError for more than ``MAX_PAIRS`` pairs."""
        return cls(path, tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PAIRS)))

    def __str__(self) -> str:
        return f"{self.path}?{self.query}" if self.pairs else self.path

    @property
    def query(self) -> str:
        """Return the query string, without the question mark."""
        return urlencode(self.pairs)

    def first(self, name: str, default: str = "") -> str:
        """Return the first value of ``name``."""
        return next((value for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return every value of ``name``."""
        return [value for key, value in self.pairs if key == name]

    def having(self, **changes: str | int | Sequence[str] | None) -> "Address":
        """Return the address with other values; None drops a name. The parameters of ``PASSING`` are dropped."""
        kept = [(key, value) for key, value in self.pairs if key not in changes and key not in PASSING]
        for name, change in changes.items():
            if isinstance(change, str | int):
                kept.append((name, str(change)))
            elif change is not None:
                kept += [(name, value) for value in change]
        return Address(self.path, tuple(kept))

    def at(self, path: str) -> "Address":
        """Return the same query at another path."""
        return Address(path, self.pairs)

    def without(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Return the pairs that a form with the fields ``names`` keeps as hidden fields."""
        left_out = PASSING | set(names)
        return [(key, value) for key, value in self.pairs if key not in left_out]

    def sorted_by(self, column: str) -> "Address":
        """Return the address after a click on ``column``: sorted by it, or reversed if it was already."""
        return self.having(sort=f"-{column}" if self.first("sort") == column else column)
