"""The dashboard: pages, live view and probes, served to people on the local network.

Enters: requests, the committed batches' summaries and the callables of ``platform.Platform``. Leaves: HTML, JSON and
Prometheus text. Never: builds a service, writes telemetry, or holds SQL (see sql/queries/web.sql).
"""
