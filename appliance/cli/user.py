"""``appliance user``: the users who may sign in. Also the recovery command, for a person on the machine itself."""

from typing import Any

import click

from appliance.cli import Invocation
from appliance.cli.administration import Administration, administer
from appliance.cli.database import web_url
from appliance.cli.output import json_option, plain, show_one, show_rows
from appliance.cli.secret_input import first_line
from appliance.errors import Invalid
from appliance.people import passwords, users
from appliance.people.passwords import Hasher
from appliance.people.role import Role
from appliance.people.users import PATH, NewUser, User, UserFilter

COLUMNS = ("email", "name", "role", "tenant_id", "last_sign_in_at", "disabled_at", "has_password", "has_second_factor")
NAMED = ("user_id", "email", "role", "tenant_id")
PAGE_ROWS = 1000
"""Users read in one query."""

tenant_option = click.option("--tenant", help="The user's tenant, if several tenants have a user with this address.")


@click.group()
def command() -> None:
    """Add and list users, reset their passwords, and disable or enable them."""


@command.command()
@click.argument("email")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Role of the user.")
@click.option("--tenant", help="The user's tenant; operators have none.")
@click.option("--name", default="", help="Display name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, instead of a link.")
@json_option
@click.pass_obj
def add(
    invocation: Invocation, email: str, role: str, tenant: str | None, name: str, password_stdin: bool, as_json: bool
) -> None:
    """Add the user EMAIL, and print a link to choose a password: it works once, for 24 hours."""
    password = first_line("password") if password_stdin else None

    async def work(administration: Administration) -> tuple[User, str | None]:
        connection, context = administration.connection, administration.context
        kept = None if password is None else await _hash(email, name, password)
        async with connection.transaction():
            user = await users.add(connection, NewUser(email, Role(role), tenant, name), context)
            if kept is not None:
                await users.store_password(connection, user, kept, context.now)
                return user, None
            return user, await users.invite(connection, user.user_id, context)

    user, secret = administer(invocation, work)
    shown: dict[str, Any] = {name: plain(user)[name] for name in NAMED}
    if secret is not None:
        shown["link"] = web_url(invocation.config) + PATH + secret
    show_one(shown, as_json=as_json)


@command.command("list")
@click.option("--tenant", help="Only users of this tenant.")
@json_option
@click.pass_obj
def list_(invocation: Invocation, tenant: str | None, as_json: bool) -> None:
    """List the users."""

    async def work(administration: Administration) -> list[User]:
        found: list[User] = []
        while True:
            after = (found[-1].email, found[-1].user_id) if found else None
            page = await users.list_page(administration.connection, UserFilter(tenant, after=after), PAGE_ROWS)
            found += page
            if len(page) < PAGE_ROWS:
                return found

    show_rows([plain(user) for user in administer(invocation, work)], COLUMNS, as_json=as_json)


@command.command()
@click.argument("email")
@tenant_option
@click.option("--drop-second-factor", is_flag=True, help="Remove the second factor, for a user who has lost it.")
@json_option
@click.pass_obj
def reset(invocation: Invocation, email: str, tenant: str | None, drop_second_factor: bool, as_json: bool) -> None:
    """End the sessions of EMAIL, and print a link for a new password: it works once, for 24 hours."""

    async def work(administration: Administration) -> tuple[User, str]:
        connection, context = administration.connection, administration.context
        user = await users.by_email(connection, email, tenant)
        secret = await users.reset(connection, user.user_id, context, drop_second_factor=drop_second_factor)
        return user, secret

    user, secret = administer(invocation, work)
    named = {name: plain(user)[name] for name in NAMED}
    show_one(named | {"link": web_url(invocation.config) + PATH + secret}, as_json=as_json)


@command.command()
@click.argument("email")
@tenant_option
@json_option
@click.pass_obj
def disable(invocation: Invocation, email: str, tenant: str | None, as_json: bool) -> None:
    """Disable EMAIL: sessions end at once; links and tokens stop working."""

    async def work(administration: Administration) -> User:
        user = await users.by_email(administration.connection, email, tenant)
        return await users.disable(administration.connection, user.user_id, administration.context)

    row = plain(administer(invocation, work))
    show_one(row, as_json=True) if as_json else show_rows([row], COLUMNS, as_json=False)


@command.command()
@click.argument("email")
@tenant_option
@json_option
@click.pass_obj
def enable(invocation: Invocation, email: str, tenant: str | None, as_json: bool) -> None:
    """Enable EMAIL again."""

    async def work(administration: Administration) -> User:
        user = await users.by_email(administration.connection, email, tenant)
        return await users.enable(administration.connection, user.user_id, administration.context)

    row = plain(administer(invocation, work))
    show_one(row, as_json=True) if as_json else show_rows([row], COLUMNS, as_json=False)


async def _hash(email: str, name: str, password: str) -> str:
    fault = passwords.fault_of(password, (email, name))
    if fault is not None:
        raise Invalid(f"{fault}.", "password")
    return await Hasher().hash(password)
