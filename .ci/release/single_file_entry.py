"""The first module of the single file: makes the process one like any other, then runs the command line."""

import sys

from appliance import single_file

if __name__ == "__main__":
    single_file.enter()
    # after that, because what is imported may start something
    from appliance.__main__ import main

    sys.exit(main())
