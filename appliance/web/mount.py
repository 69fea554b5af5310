"""What a concept installs itself on: the application, the platform, the ports, and the page renderer."""

from dataclasses import dataclass

from quart import Blueprint, Quart

from appliance.web.page.renderer import PageRenderer
from appliance.web.platform import Platform
from appliance.web.ports import Ports


@dataclass(frozen=True, slots=True)
class Mount:
    """The argument of a concept's ``install``; made once, in ``create_app``."""

    app: Quart
    platform: Platform
    ports: Ports
    renderer: PageRenderer

    def add(self, *blueprints: Blueprint) -> None:
        """Register the routes of a concept."""
        for blueprint in blueprints:
            self.app.register_blueprint(blueprint)
