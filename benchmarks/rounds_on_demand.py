"""A part of ``against``: a started appliance that takes a round of messages for each line of its input.

It imports the checkout in which it runs, which may be older than this file: only names that all of them have.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from appliance.db.roles import INGEST
from benchmarks.appliance_process import ApplianceProcess
from benchmarks.rounds import DEVICES, Bench
from benchmarks.storage import enroll
from benchmarks.subscriber import PrivateBroker


def main() -> None:
    """Answer ``ready``, then each line with the rate and the CPU microseconds a message."""
    messages = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # the servers run as users of their own
        appliance = stack.enter_context(ApplianceProcess(folder))
        appliance.start()
        enroll(appliance.conninfo(INGEST), appliance.claim_user().username, DEVICES)
        rendered = appliance.data / "mosquitto"
        broker = stack.enter_context(PrivateBroker(folder / "broker", rendered, appliance.claim_user()))
        bench = stack.enter_context(Bench(appliance, broker, messages, 0.0))
        bench.warm_up()
        print("ready", flush=True)
        for _ in sys.stdin:
            rate, cpu, _ = bench.appliance_round(bench._stream(messages))  # noqa: SLF001 - as the bench itself does
            print(f"{rate} {cpu}", flush=True)


if __name__ == "__main__":
    main()
