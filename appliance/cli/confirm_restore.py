"""``appliance confirm-restore``: say that the machine of the backup is off, so that notices are sent again."""

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.output import json_option, show_one
from appliance.delivery.outbox import restore_hold


@click.command()
@json_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, yes: bool) -> None:
    """Confirm that the old machine is off: after `appliance restore`, notices wait for this.

    What was held meanwhile is told in one summary a route.
    """

    async def work(administration: Administration) -> int | None:
        hold = await restore_hold.read(administration.connection)
        if hold is None:
            return None
        if not (yes or as_json):
            held = await restore_hold.count_held(administration.connection)
            click.echo(
                f"Restored {hold.restored_at:%Y-%m-%d %H:%M} UTC from the backup of {hold.made_at:%Y-%m-%d %H:%M} UTC; "
                f"notices held: {held:,}."
            )
            click.confirm("Is the old machine off?", abort=True)
        return await restore_hold.confirm(administration.connection, administration.context)

    released = administer(invocation, work)
    if as_json:
        show_one({"confirmed": released is not None, "released": released or 0}, as_json=True)
    elif released is None:
        click.echo("Notices are not held; there is nothing to confirm.")
    else:
        click.echo(f"Notices are sent again; {released:,} were held.")
