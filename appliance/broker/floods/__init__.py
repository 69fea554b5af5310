"""Users of the embedded broker who send what would stop it for everybody: found by what was refused, and shut out.

Enters: what was committed and refused, and which topics hold retained copies. Leaves: users to shut out for a while.
Never: a user that keeps to its limits, and nothing that is kept for each sender without a bound.

Whatever a broker accepts for us it queues, up to a limit that all users share; past that it drops messages of whoever
comes next. Mosquitto has no limit for each user. So what one may send within WINDOW_SECONDS and have refused has one.
"""
