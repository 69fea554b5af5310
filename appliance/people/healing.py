"""Times of people that a wrong clock wrote: set right, so that nobody is signed out for ever, or in for years."""

from datetime import datetime, timedelta
from typing import Any

from appliance.clock import Correction
from appliance.db import statements
from appliance.db.trio_psycopg import Connection
from appliance.people import kept_answers
from appliance.people.users import PASSWORD_LINK

STATEMENTS = statements.load("people")


async def heal(connection: Connection[Any], correction: Correction) -> int:
    """Heal sessions, links, tokens, browsers, sign-ins and kept answers; return the number of sessions changed."""
    parameters = correction.parameters()
    await kept_answers.heal(connection, correction.now)
    await connection.execute(STATEMENTS["heal_links"], {"latest": correction.now + PASSWORD_LINK})
    for name in ("heal_tokens", "heal_browsers", "heal_users"):
        await connection.execute(STATEMENTS[name], parameters)
    return (await connection.execute(STATEMENTS["heal_sessions"], parameters)).rowcount


async def carry(connection: Connection[Any], since: datetime, before: datetime, step: timedelta) -> int:
    """Let sessions, links and kept answers outlive a step ahead of the service time, from ``before``.

    It would end them at once. Those alive when the doubt began, at ``since``, last as long as they would have. To be
    called once a step. Return the number of sessions.
    """
    await connection.execute(STATEMENTS["carry_links"], {"since": since, "step": step})
    await kept_answers.carry(connection, since, step)
    parameters = {"since": since, "before": before, "step": step}
    return (await connection.execute(STATEMENTS["carry_sessions"], parameters)).rowcount
