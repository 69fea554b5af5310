"""The appliance's own Postgres and Mosquitto: found, started, watched, restarted and stopped.

What enters: a data folder, a few settings, and the wish to open or close the device listener. What leaves: endpoints to
connect to, a status of each child, every line it prints. Nothing here speaks SQL or MQTT; whether a child can serve
is read from what it writes for exactly that purpose.
"""
