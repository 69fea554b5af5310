"""The service time: the one time that everything in the appliance is recorded and decided by.

Enters: the wall clock of the machine, the time since its boot, whether the kernel calls its clock synchronised, the
build date, what was recorded before, this instance's newest receive time, and confirmations by operators. Leaves: the
service time, whether the wall clock is trusted, and a record on disk. Never: a step of the service time while the wall
clock is in doubt, and no change of the machine's clock.

``service_time`` has the theory and decides; it is pure. ``machine`` asks the kernel, ``record`` is the file,
``confirmations`` are rows of the database, and ``clock`` joins them.
"""
