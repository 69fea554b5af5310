"""The address of a page with its filters: what links and forms of a list keep, change and leave out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode

from quart import request

MAX_PAIRS = 100
"""Of a query that comes back to us outside of an address."""
PASSING = frozenset({"cursor", "done"})
"""What belongs to one view of a list and to no link from it."""


@dataclass(frozen=True, slots=True)
class Address:
    """A path and its query, several values a name."""

    path: str
    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_request(cls) -> Self:
        """The current request's."""
        return cls(request.path, tuple(request.args.items(multi=True)))

    @classmethod
    def of_query(cls, path: str, query: str) -> Self:
        """A path with the query that :attr:`query` gave. Raises ValueError for one with too much in it."""
        return cls(path, tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PAIRS)))

    def __str__(self) -> str:
        return f"{self.path}?{self.query}" if self.pairs else self.path

    @property
    def query(self) -> str:
        """What stands behind the question mark."""
        return urlencode(self.pairs)

    def first(self, name: str, default: str = "") -> str:
        """The first value of ``name``."""
        return next((value for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of ``name``."""
        return [value for key, value in self.pairs if key == name]

    def having(self, **changes: str | int | Sequence[str] | None) -> "Address":
        """The same with other values; None leaves a name out. Places in a list and results are left behind."""
        kept = [(key, value) for key, value in self.pairs if key not in changes and key not in PASSING]
        for name, change in changes.items():
            if isinstance(change, str | int):
                kept.append((name, str(change)))
            elif change is not None:
                kept += [(name, value) for value in change]
        return Address(self.path, tuple(kept))

    def at(self, path: str) -> "Address":
        """The same query at another path."""
        return Address(path, self.pairs)

    def without(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """What a form that asks for ``names`` itself carries along as hidden fields."""
        left_out = PASSING | set(names)
        return [(key, value) for key, value in self.pairs if key not in left_out]

    def sorted_by(self, column: str) -> "Address":
        """As ``column`` is clicked: by it, or the other way round when it is so already."""
        return self.having(sort=f"-{column}" if self.first("sort") == column else column)
