"""Live pages are rendered once for all who see the same, as often as the page is worth it."""

from dataclasses import replace

import pytest
import trio
import trio.testing

from appliance.web.access.auth import Viewer
from appliance.web.live.parts import SHARED_FOR, LivePages, LivePart
from tests.support.web.stand_ins import OPERATOR


@pytest.mark.parametrize("shared_for", [SHARED_FOR, 0.9])
async def test_one_rendering_is_shared_for_its_time_and_no_longer(
    shared_for: float, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock  # it counts as installed only when it is asked for by name
    rendered: list[Viewer] = []

    async def render(seen_by: Viewer) -> list[LivePart]:
        rendered.append(seen_by)
        return [LivePart("x", str(len(rendered)))]

    pages = LivePages()
    pages.add("page", render, shared_for=shared_for)
    first = await pages.fragments("page", OPERATOR)
    await trio.sleep(shared_for * 0.9)
    assert await pages.fragments("page", OPERATOR) == first
    await pages.fragments("page", replace(OPERATOR, name="Somebody else"))
    assert len(rendered) == 2, "nobody sees what was rendered for another"
    await trio.sleep(shared_for * 0.2)
    assert await pages.fragments("page", OPERATOR) != first


async def test_pages_of_one_family_have_its_time(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    rendered: list[str] = []

    async def render(_: Viewer, which: str) -> list[LivePart]:
        rendered.append(which)
        return []

    pages = LivePages()
    pages.add_each("list", render, shared_for=0.9)
    for _ in range(3):
        await pages.fragments("list/a=1", OPERATOR)
        await trio.sleep(0.4)
    assert rendered == ["a=1"]
    await pages.fragments("list/a=1", OPERATOR)
    assert rendered == ["a=1", "a=1"]
