"""Secrets from standard input: one line of text, whatever the locale of the terminal or the service is."""

import sys

from appliance.errors import Invalid


def first_line(field: str) -> str:
    """Return the first line of standard input without its end. Raises Invalid when it is not UTF-8 text."""
    try:
        line = sys.stdin.readline()
        line.encode()  # a locale without rules lets bytes through that are no text
    except UnicodeError:
        raise Invalid(f"the {field} on standard input is not UTF-8 text.", field) from None
    return line.removesuffix("\n").removesuffix("\r")
