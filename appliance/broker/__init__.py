"""The appliance's side of the broker: messages in, credentials out, refusals read, the device listener opened last.

Enters: an MQTT session and the broker's log. Leaves: submissions to the pipeline, files that the broker reads. Never:
an open device listener without a subscriber that takes what devices send.
"""
