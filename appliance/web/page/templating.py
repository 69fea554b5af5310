"""Renders templates: always escaped, undefined names are errors, filters from ``formats``."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance import zones
from appliance.assets import asset
from appliance.counted import counted
from appliance.runtime.activity import in_words
from appliance.service_clock.advice import EFFECT
from appliance.web.http.files import StaticFiles
from appliance.web.page import formats
from appliance.web.page.labels import tenant_title


class Templates:
    """The templates of pages and of their live parts."""

    def __init__(self, files: StaticFiles, appliance_name: str, has_own_ca: Callable[[], bool]) -> None:
        """``has_own_ca``: whether there is a CA of our own for people and devices to trust."""
        self._environment = Environment(
            loader=FileSystemLoader(asset("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {
            "asset": files.address,
            "appliance_name": appliance_name,
            "clock_effect": EFFECT,
            "has_own_ca": has_own_ca,
        }
        self._environment.filters |= {
            "count": formats.count,
            "counted": counted,
            "size": formats.size,
            "milliseconds": formats.milliseconds,
            "span": in_words,
            "rate": formats.rate,
            "percent": formats.percent,
            "ago": formats.ago,
            "absolute": formats.absolute,
            "zone_title": zones.title,
            "day_time": formats.day_time,
            "clock_time": formats.clock_time,
            "short_time": formats.short_time,
            "iso": formats.iso,
            "day": formats.day,
            "moment_of": formats.moment_of,
            "delay": formats.delay,
            "lasting": formats.lasting,
            "quantity": formats.quantity,
            "tenant_title": tenant_title,
        }

    def render(self, name: str, **values: Any) -> str:
        """Return the template ``name`` (below templates/) with ``values``."""
        return self._environment.get_template(name).render(**values)
