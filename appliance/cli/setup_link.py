"""``appliance setup-link``: a new one-time link to the set-up page."""

import click

from appliance import onboarding
from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.database import web_url
from appliance.cli.output import json_option, show_one
from appliance.errors import Conflict


@click.command()
@json_option
@click.pass_obj
def command(invocation: Invocation, as_json: bool) -> None:
    """Make a new link to the set-up page: it works once, for one hour, and earlier ones are dead.

    While nobody has set up the appliance; afterwards, `appliance user add --role operator` makes another operator.
    """

    async def work(administration: Administration) -> str:
        secret = await onboarding.open_set_up(administration.connection, administration.context.now)
        if secret is None:
            raise Conflict("The appliance is set up already; `appliance user list` says by whom.")
        return onboarding.PATH + secret

    path = administer(invocation, work)
    url = web_url(invocation.config) + path
    show_one({"url": url}, as_json=True) if as_json else click.echo(url)
