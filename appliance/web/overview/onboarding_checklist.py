"""The onboarding checklist: five steps that are ticked automatically once they are done."""

from dataclasses import dataclass

from appliance.people.role import Role
from appliance.web.access.auth import ADMINS
from appliance.web.overview.action_items import PageLinks
from appliance.web.overview.query import OverviewData


@dataclass(frozen=True, slots=True)
class ChecklistStep:
    """One step, with a link to its page; without ``href`` it cannot be taken yet, or not by this viewer."""

    title: str
    hint: str
    done: bool
    href: str | None = None


def steps(data: OverviewData, role: Role, links: PageLinks) -> list[ChecklistStep]:
    """Return the five steps, or none once all are done."""
    may = role in ADMINS
    add = links.at("/devices/+new") if may else links.at("/devices")
    seen = sum(site.seen for site in data.sites)
    device = ChecklistStep("Add a device", "Its password and a ready command are shown once.", data.devices > 0, add)
    reading = ChecklistStep("See its first reading", "It appears here at once.", seen > 0, links.at("/devices"))
    person = ChecklistStep(
        "Invite a second person",
        "Send them a link, no mail needed.",
        data.people > 1,
        links.at("/users") if may else None,
    )
    rule = ChecklistStep(
        "Make an alert rule",
        "You see what it would have opened before you save it.",
        data.rules > 0,
        links.at("/rules/new") if may else links.at("/rules"),
    )
    integration = ChecklistStep(
        "Test an integration",
        "It shows the answer, and the request that was sent.",
        data.tried,
        links.at("/integrations"),
    )
    every = [device, reading, rule, integration, person]
    return [] if all(step.done for step in every) else every
