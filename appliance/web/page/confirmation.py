"""The name that people type before something is deleted for good."""

from appliance.web.page import forms
from appliance.web.page.faults import Fault


async def name_fault(name: str) -> Fault | None:
    """Return what is wrong with the name that was typed to confirm; None if it is the name. Blanks do not count."""
    typed = (await forms.read()).typed("typed")
    if typed.split() == name.split():
        return None
    return ("typed", f"Type {name} exactly to confirm.")
