"""Between our Mosquitto and the rest: messages in, credentials out, refusals read, the device listener opened last.

Enters: an MQTT session and the broker's log. Leaves: submissions to the pipeline, files that the broker reads. Never:
a listener open to devices while nobody takes what they send.
"""
