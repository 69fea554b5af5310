"""A process that renews once and dies: ``python -m tests.renewals.dying CONNINFO TENANT KEY before|after``.

``before``: the COMMIT is never sent. ``after``: it was answered, and whoever asked has not been told.
"""

import os
import signal
import sys

import trio

from appliance.db.trio_psycopg import connect
from appliance.renewals.renewal import renew
from tests.renewals.family import FEWER, POLICY
from tests.support.tenants import BY


async def work(conninfo: str, tenant: str, key: str, moment: str) -> None:
    """Renew, and have the power cut."""
    async with await connect(conninfo) as connection:
        async with connection.transaction():
            await renew(connection, tenant, FEWER, BY, key=key, policy=POLICY, trusted=True)
            if moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    trio.run(work, sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4])
