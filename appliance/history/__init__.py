"""The history of measurements.

Enters: the roll-up queue, to which the writers of readings add hours. Leaves: hourly roll-ups, and series for charts,
the API and CSV - from readings where the span is short, from roll-ups where it is long. Never: a change of a reading.
"""
