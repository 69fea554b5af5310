"""Common parts of passwords: words, names and runs of keys from well-known lists, and words of this product.

Passwords of twelve characters or more appear on such lists only as combinations of these parts, so this module lists
parts, not whole passwords.
"""

_LINES = (
    "password passwort passord passwd passw0rd pass contraseña motdepasse wachtwoord lösenord",
    "admin administrator root superuser operator user guest test tester testing demo default",
    "secret geheim hemmelig private login logon signin welcome willkommen velkommen bienvenue",
    "letmein letme openup changeme change temp temporary initial master access system server",
    "qwerty qwertz azerty asdf zxcv qazwsx qaz wsx edc",
    "iloveyou love lovely princess prinsesse dragon monkey football baseball basketball hockey soccer",
    "superman batman pokemon starwars trustno shadow sunshine flower whatever michael jessica jennifer",
    "charlie daniel ashley thomas hunter jordan harley ranger buster tigger ginger pepper cookie cheese",
    "summer winter spring autumn sommer vinter sommar january february march april june july august",
    "september october november december monday tuesday wednesday thursday friday saturday sunday",
    "hello hallo computer internet freedom killer samsung google facebook microsoft windows",
    "edge appliance edgeappliance gateway mosquitto mqtt postgres postgresql raspberry raspi iot device",
    "correct horse battery staple",  # the well-known example
    "sensor telemetry tenant broker dashboard factory",
)
WORDS = frozenset(word for line in _LINES for word in line.split())

SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
)
"""Runs of keys and letters, read both ways."""
