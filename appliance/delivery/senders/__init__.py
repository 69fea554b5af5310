"""Senders: one module a type of integration, one entry of the table. A notice enters, an outcome leaves.

A sender never raises for what a receiver does, never keeps state between notices, and never follows a redirect.
"""
