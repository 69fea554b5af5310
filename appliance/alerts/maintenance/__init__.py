"""Maintenance windows: alerts of what is being worked on are recorded and shown, and their notices wait.

Enters: windows that people describe, in local times of a zone, and the time. Leaves: when a window is active, and which
active window covers an alert. Never: a change of an alert, whose row says nothing of windows; a decision on a notice.

- :mod:`window` - what a window is; :mod:`occurrences` - when it is active, a pure reckoning in its zone
- :mod:`validation` - what people may ask for; :mod:`store` - rows of ``maintenance_windows``
- :mod:`book` - the windows in memory, for lists, pages and deliveries
"""
