"""Passphrases of backups: made at random, judged, and printed on a sheet that is kept elsewhere."""

import secrets
from datetime import datetime
from pathlib import Path

from appliance.errors import Invalid
from appliance.new_file import new_file

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 letters and digits that are not taken for one another on paper."""
GROUPS, GROUP = 6, 5
"""Groups and letters in each: 150 random bits, which no scrypt has to help."""


def make_passphrase() -> str:
    """Return a new random passphrase."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def write_passphrase(file: Path, passphrase: str) -> None:
    """Write ``passphrase`` into the new ``file``, which only its owner may read. Raises Invalid, ApplianceError."""
    if file.exists():
        raise Invalid(f"{file} exists already: backups may need the passphrase in it. Name a new file.", "file")
    with new_file(file) as new:
        new.write(f"{passphrase}\n".encode())


SHEET = """\
BACKUPS OF THE EDGE APPLIANCE                         keep this sheet elsewhere

  Appliance    {instance}
  Host         {host}
  Printed      {printed}

  Passphrase   {passphrase}

Without this passphrase nobody opens a backup, neither we nor you. Whoever has
it and a backup has all readings, all keys and the configuration.

To restore on a new machine with the appliance installed:

  appliance restore FILE

To open a backup without the appliance, with age (age-encryption.org), tar and
the programs of PostgreSQL {postgres} or newer:

  age -d FILE > backup.tar                (asks for the passphrase)
  tar -xf backup.tar manifest.json files  (keys, certificates, configuration)
  createdb appliance
  tar -xOf backup.tar --wildcards 'database/*' | pg_restore -O -x -d appliance
"""


def sheet(passphrase: str, *, instance: str | None, host: str, printed: datetime | None) -> str:
    """Return the sheet as plain text of less than 80 columns; a long passphrase has a longer line."""
    return SHEET.format(
        passphrase=passphrase,
        instance=instance or "________________________",
        host=host,
        printed="________________________" if printed is None else printed.strftime("%Y-%m-%d %H:%M UTC"),
        postgres=15,
    )
