"""What people may do, how their pages look, and what a token is good for."""

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
    """Looks."""


CUSTOMER_ROLES = (Role.ADMIN, Role.RESPONDER, Role.VIEWER)
"""Roles within a tenant."""


class Theme(StrEnum):
    """How pages look."""

    SYSTEM = "system"
    """As the browser's system says."""
    LIGHT = "light"
    DARK = "dark"


class Scope(StrEnum):
    """What an API token is good for."""

    READ = "read"
    WRITE = "write"
    INGEST = "ingest"
    """To send messages of any device of the user's tenant over HTTP, for whoever administers it."""
