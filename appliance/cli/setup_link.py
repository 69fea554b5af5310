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
    """Create a new link to the set-up page. It works once, for one hour, and replaces earlier links.

    Only before the appliance is set up; afterwards, `appliance user add --role operator` adds another operator.
    """

    async def work(administration: Administration) -> str:
        secret = await onboarding.open_set_up(administration.connection, administration.context.now)
        if secret is None:
            raise Conflict("The appliance is already set up; `appliance user list` shows its users.")
        return onboarding.PATH + secret

    path = administer(invocation, work)
    url = web_url(invocation.config) + path
    show_one({"url": url}, as_json=True) if as_json else click.echo(url)
