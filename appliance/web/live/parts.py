"""Live pages: the parts of a page that the WebSocket sends when they change."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from appliance.web.access.auth import Viewer


@dataclass(frozen=True, slots=True)
class LivePart:
    """One element, by its id. A ``calm`` part is sent at most once a second, so that it can be read."""

    element_id: str
    html: str
    calm: bool = False


class NotNow(Exception):
    """The parts are not available at present. The page receives nothing, and shows that by itself."""


Render = Callable[[Viewer], Awaitable[list[LivePart]]]
"""Returns all live parts of one page, for one viewer. Raises NotNow."""
RenderEach = Callable[[Viewer, str], Awaitable[list[LivePart]]]
"""The same for one page of a family; the text says which: ``TENANT/DEVICE``."""

SHARED_FOR = 0.2
"""Seconds for which viewers of the same page share one rendering."""
MAX_SHARED = 64


class LivePages:
    """The live pages by name; sockets of the same viewer share a rendering."""

    def __init__(self) -> None:
        self._renders: dict[str, Render] = {}
        self._shared_for: dict[str, float] = {}
        self._each: dict[str, RenderEach] = {}
        self._shared: dict[tuple[str, Viewer], tuple[float, list[LivePart]]] = {}
        self._forgotten = 0

    def add(self, name: str, render: Render, *, shared_for: float | None = None) -> None:
        """Register a live page; one rendering is reused for ``shared_for`` seconds."""
        self._renders[name] = render
        if shared_for is not None:
            self._shared_for[name] = shared_for

    def add_each(self, name: str, render: RenderEach, *, shared_for: float | None = None) -> None:
        """Register a family of live pages, ``name/WHICH``."""
        self._each[name] = render
        if shared_for is not None:
            self._shared_for[f"{name}/"] = shared_for

    def forget(self) -> None:
        """Forget the shared renderings, those under way included: what they show has changed."""
        self._shared.clear()
        self._forgotten += 1

    def __contains__(self, name: str) -> bool:
        family, _, which = name.partition("/")
        return name in self._renders or bool(which and family in self._each)

    async def fragments(self, name: str, viewer: Viewer) -> list[LivePart]:
        """Return the current live parts of page ``name``. Raises KeyError for a page that is not live, and NotNow."""
        shared = self._shared.get((name, viewer))
        if shared is not None and trio.current_time() - shared[0] < self._good_for(name):
            return shared[1]
        forgotten = self._forgotten
        fragments = await self._render(name, viewer)
        if len(self._shared) >= MAX_SHARED:
            self._shared.clear()
        if forgotten == self._forgotten:
            self._shared[name, viewer] = (trio.current_time(), fragments)
        return fragments

    def _good_for(self, name: str) -> float:
        family, slash, _ = name.partition("/")
        return self._shared_for.get(name, self._shared_for.get(family + slash, SHARED_FOR))

    async def _render(self, name: str, viewer: Viewer) -> list[LivePart]:
        if name in self._renders:
            return await self._renders[name](viewer)
        family, _, which = name.partition("/")
        return await self._each[family](viewer, which)
