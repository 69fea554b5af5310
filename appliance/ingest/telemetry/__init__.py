"""Readings in Postgres: COPY rows, the daily partitions, and the messages of one device as people read them."""
