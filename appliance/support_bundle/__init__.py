"""The support bundle: one file with what somebody needs who looks for a fault remotely.

Enters: the data folder, the configuration with its secrets masked, the results of the doctor, the machine, the database
in a session that can only read, and what a running process tells over its socket. Leaves: a ZIP archive, whose first
file says what is in it, what is missing and why. Never: a secret, a message or a value of one, the name of a person, a
change of anything. Tenants, devices and sites have pseudonyms, which hold within one bundle only (``scrub.py``).
"""
