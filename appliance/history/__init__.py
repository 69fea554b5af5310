"""What devices measured, over time.

Enters: marks of hours that have news, left by whoever stores readings. Leaves: hourly roll-ups, and series for charts,
the API and CSV - from readings where the span is short, from roll-ups where it is long. Never: a change of a reading.
"""
