"""The kinds of rules there are. A new kind is one module and one entry."""

from collections.abc import Mapping

from appliance.alerts.kinds.change import CHANGE
from appliance.alerts.kinds.kind import Kind, KindName
from appliance.alerts.kinds.no_data import NO_DATA
from appliance.alerts.kinds.threshold import THRESHOLD
from appliance.alerts.kinds.window import WINDOW

KINDS: Mapping[KindName, Kind] = {kind.name: kind for kind in (THRESHOLD, WINDOW, NO_DATA, CHANGE)}
