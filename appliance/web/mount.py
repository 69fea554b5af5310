"""Where a concept installs itself: the application, the platform, the ports, and what renders pages."""

from dataclasses import dataclass

from quart import Blueprint, Quart

from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform
from appliance.web.ports import Ports


@dataclass(frozen=True, slots=True)
class Mount:
    """What a concept's ``install`` is given; made once, in ``create_app``."""

    app: Quart
    platform: Platform
    ports: Ports
    renderer: PageRenderer

    def add(self, *blueprints: Blueprint) -> None:
        """Register the routes of a concept."""
        for blueprint in blueprints:
            self.app.register_blueprint(blueprint)
