"""The appliance's own Postgres and Mosquitto: found, started, watched, restarted and stopped.

Enters: a data folder, a few settings, requests to open or close the device listener. Leaves: endpoints to connect to,
the status of each child, every line it prints. Never: SQL or MQTT; whether a child can serve is read from the files and
sockets that it provides for that purpose.
"""
