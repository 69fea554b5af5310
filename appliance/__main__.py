"""The program. It imports next to nothing by itself, so that a signal ends it silently while all else is imported."""

import sys

from appliance.end_signals import end_at_once


def main() -> int:
    """Run the command that ``sys.argv`` names and return its exit code."""
    end_at_once()
    from appliance.cli.program import run_program  # noqa: PLC0415 - it takes most of the start

    return run_program()


if __name__ == "__main__":
    sys.exit(main())
