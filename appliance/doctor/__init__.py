"""The doctor: each promise held against the database and the machine, while the appliance runs or is stopped.

Enters: the configuration, the clock, a connection that can only read where there is one. Leaves: a result for each
check of ``table.CHECKS``, and on request what a mend did. Never: a change outside of ``mends``, a server started, or a
secret in a result.

A check has two halves. To look is a small function that reads; to judge is a pure function of what was read, so that a
judgement can be tried without the fault. Theory of the four states:

    ok        it was looked at, and holds
    advice    it holds, and somebody should do something before it does not
    broken    a promise does not hold: the exit code is 1
    unseen    it could not be looked at, with the reason
"""
