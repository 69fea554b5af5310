"""Roles of users, themes of their pages, and scopes of API tokens."""

from enum import StrEnum


class Role(StrEnum):
    """What a user may do."""

    OPERATOR = "operator"
    """Everything, in all tenants; belongs to none."""
    ADMIN = "admin"
    """Users, routes, rules, renewals and devices of their tenant."""
    RESPONDER = "responder"
    """Acknowledges, closes and silences alerts."""
    VIEWER = "viewer"
    """Views everything, changes nothing."""


CUSTOMER_ROLES = (Role.ADMIN, Role.RESPONDER, Role.VIEWER)
"""Roles within a tenant."""


class Theme(StrEnum):
    """The appearance of pages."""

    SYSTEM = "system"
    """As the system of the browser is set."""
    LIGHT = "light"
    DARK = "dark"


class Scope(StrEnum):
    """What an API token may be used for."""

    READ = "read"
    WRITE = "write"
    INGEST = "ingest"
    """To send messages of any device of a tenant over HTTP, if the user administers it."""
