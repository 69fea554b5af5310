"""Whether the disk of the data folder has room, and the room that is kept back for when it has none.

Enters: what the file system says of its free bytes and inodes. Leaves: a state that others ask for or wait on, and a
reserve that is given back when the disk is full, so that Postgres can go on with what people do. Never: a file of
anybody else removed, or a message held: who writes much waits by itself for :meth:`DiskWatch.until_room`.
"""
