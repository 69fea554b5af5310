"""A sound installation on an external database, and what the doctor says of it."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from click.testing import Result

from appliance.children.data_dir import locked_data_dir, open_data_dir
from appliance.db.roles import ROLES
from tests.support.postgres_server import Database
from tests.support.program import invoke

OF_THIS_SERVER = frozenset({"fsync", "full_page_writes"})
"""What is broken on the Postgres of the tests, which syncs nothing."""


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor printed with ``--json``, and its exit code."""

    exit_code: int
    printed: Mapping[str, Any]

    def status(self, name: str) -> str:
        """Return the status of a check."""
        return str(self._of(name)["status"])

    def text(self, name: str) -> str:
        """Return the findings of a check, or why it is unseen."""
        check = self._of(name)
        return "\n".join(f"{each['text']} | {each['advice']}" for each in check["findings"]) or str(check["reason"])

    def having(self, status: str) -> frozenset[str]:
        """Return the names of the checks with a status, without what is broken on the Postgres of the tests."""
        return frozenset(each["name"] for each in self.printed["checks"] if each["status"] == status) - OF_THIS_SERVER

    def _of(self, name: str) -> Mapping[str, Any]:
        return next(each for each in self.printed["checks"] if each["name"] == name)


class Patient:
    """An installation: a data folder, and a database that is external to it."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.environ = {
            "APPLIANCE_DATA_DIR": str(folder),
            "APPLIANCE_DATABASE_URL": database.url,
            "APPLIANCE_WEB_PORT": "0",
            "APPLIANCE_BROKER_PORT": "0",
            "APPLIANCE_WEB_PUBLIC_URL": "http://appliance.example:8080",
        }
        with open_data_dir(folder):
            pass
        # the right to connect is of the database itself, and not copied with a template
        self.run(f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC")
        self.run(f"GRANT CONNECT ON DATABASE {database.name} TO {', '.join(role.name for role in ROLES)}")
        today = datetime.now(UTC).date()
        self.run("SELECT telemetry_ensure_partitions(%s, %s)", today - timedelta(30), today + timedelta(3))

    def run(self, *statements: Any) -> None:
        """Execute a statement with its parameters, as the superuser."""
        text, *parameters = statements
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            connection.execute(text, parameters or None)

    def command(self, *arguments: str, **environ: str) -> Result:
        """Run ``appliance doctor``."""
        return invoke({**self.environ, **environ}, "doctor", *arguments)

    def examine(self, *arguments: str, **environ: str) -> Diagnosis:
        """Run ``appliance doctor --json``."""
        done = self.command("--json", *arguments, **environ)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Diagnosis(done.exit_code, json.loads(done.stdout))

    @contextmanager
    def pretending_to_run(self, web_url: str = "http://127.0.0.1:1") -> Iterator[None]:
        """Be the appliance that runs on the data folder, during the block."""
        with locked_data_dir(self.folder):
            self.write_run_file(web_url)
            yield
            (self.folder / "run.json").unlink()

    def write_run_file(self, web_url: str = "http://127.0.0.1:1") -> None:
        """Write the run file of an appliance, with the pid of this process."""
        run = {
            "pid": os.getpid(),
            "web_url": web_url,
            "mqtt_host": "127.0.0.1",
            "mqtt_port": 1,
            "socket_dir": None,
        }
        run["database"] = self.database.conninfo()
        path = self.folder / "run.json"
        path.write_text(json.dumps(run))
        path.chmod(0o600)
