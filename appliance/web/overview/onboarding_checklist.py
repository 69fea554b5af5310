"""The five steps from an empty appliance to one that works for somebody; each ticks itself once it is done."""

from dataclasses import dataclass

from appliance.people.role import Role
from appliance.web.access.auth import ADMINS
from appliance.web.overview.action_items import PageLinks
from appliance.web.overview.query import OverviewData


@dataclass(frozen=True, slots=True)
class ChecklistStep:
    """One step, and where it is taken; without ``href`` it cannot be taken yet, or not by this viewer."""

    title: str
    words: str
    done: bool
    href: str | None = None


def steps(figures: OverviewData, role: Role, places: PageLinks) -> list[ChecklistStep]:
    """The five, or none once all that can be taken are done."""
    may = role in ADMINS
    add = places.at("/devices/+new") if may and (places.tenant or not places.operator) else places.at("/devices")
    seen = sum(site.seen for site in figures.sites)
    device = ChecklistStep("Add a device", "Its password and a ready line are shown once.", figures.devices > 0, add)
    reading = ChecklistStep("See its first reading", "It appears here at once.", seen > 0, places.at("/devices"))
    person = ChecklistStep(
        "Invite a second person",
        "With a link, no mail needed.",
        figures.people > 1,
        places.at("/users") if may else None,
    )
    if device.done and reading.done and person.done:
        return []
    # The two between wait for parts of the appliance that this version does not have.
    later = "Comes with a later version."
    return [
        device,
        reading,
        ChecklistStep("Make an alert rule", later, False),
        ChecklistStep("Test an integration", later, False),
        person,
    ]
