"""Restoring a backup: the way from a file to a data folder and a database that an appliance goes on with.

Enters: a backup, all of which is verified before anything is touched, and the place where it is to live. Leaves: the
old content of that place or the new one, also when killed at any moment; sessions, leases and replays that start anew;
and a hold on notices. Never: a notice that the machine of the backup may have sent, or a key of it in a message.
"""
