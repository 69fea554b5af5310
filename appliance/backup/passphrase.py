"""Passphrases of backups: made at random, judged, and printed on a sheet that is kept elsewhere."""

import os
import secrets
from datetime import datetime
from pathlib import Path

from appliance.errors import ApplianceError, Invalid

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 letters and digits that are not taken for one another on paper."""
GROUPS, GROUP = 6, 5
"""Groups and letters in each: 150 random bits, which no scrypt has to help."""


def make_passphrase() -> str:
    """Return a new random passphrase."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


def keep_passphrase(file: Path, passphrase: str) -> None:
    """Write ``passphrase`` into the new ``file``, which only its owner may read. Raises Invalid, ApplianceError."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(f"{passphrase}\n")
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        raise Invalid(
            f"{file} exists already: backups may need the passphrase in it. Name a new file.", "file"
        ) from None
    except OSError as error:
        raise ApplianceError(f"{file} cannot be written: {error.strerror}") from error


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
