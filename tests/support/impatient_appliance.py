"""The appliance, which takes a child for frozen after some seconds instead of many, as often as it is."""

import sys

from appliance.__main__ import main
from appliance.children.keeper import Patience

IMPATIENT = Patience(deaths=100, ask=0.5, slow=1.0, hang=4.0)

if __name__ == "__main__":
    fields = ("deaths", "window", "start", "served", "ask", "slow", "hang")
    Patience.__init__.__defaults__ = tuple(getattr(IMPATIENT, name) for name in fields)
    sys.exit(main())
