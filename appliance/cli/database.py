"""Where the commands find the database: the external one, or that of the appliance that runs on data_dir."""

import os

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from appliance.children.data_dir import RunFile, read_run_file
from appliance.config import Config
from appliance.db.endpoint import Endpoint
from appliance.errors import ApplianceError


def endpoint(config: Config) -> Endpoint:
    """The database of this configuration. Raises ApplianceError when it is embedded and does not run."""
    if config.database.url is not None:
        return Endpoint.external(config.database.url.reveal())
    return Endpoint(running(config).database, login_is_role=True)


def running(config: Config) -> RunFile:
    """What the appliance on ``data_dir`` says of itself. Raises ApplianceError when none is ready there."""
    try:
        run = read_run_file(config.data_dir)
    except PermissionError:
        raise ApplianceError(
            f"{config.data_dir} cannot be read: run this as the user who runs the appliance, or as root"
        ) from None
    if run is None or not _lives(run.pid):
        raise ApplianceError(
            f"no appliance runs on {config.data_dir}: start it with appliance run, "
            "or name another data_dir (APPLIANCE_DATA_DIR) or database.url"
        )
    return run


def environment(conninfo: str) -> dict[str, str]:
    """``conninfo`` as libpq's environment variables: unlike an argument, nobody else sees the password in them."""
    names = {option.keyword: option.envvar for option in pq.Conninfo.get_defaults()}
    found = {}
    for key, value in conninfo_to_dict(conninfo).items():
        variable = names.get(key.encode())
        if variable is not None and value is not None:
            found[variable.decode()] = str(value)
    return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
