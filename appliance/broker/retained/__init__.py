"""Retained copies in the embedded broker: cleared, so that nothing a device publishes piles up there.

Enters: topics of messages that came with the retain flag, once they are committed. Leaves: empty retained messages,
which clear the copies; users who leave more than can be cleared, to be shut out for a while. Never: work in the message
path beyond a note, and nothing that is kept for each topic without a bound.
"""
