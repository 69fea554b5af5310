"""The latest values of a device: of each metric the newest, however the metrics are spread over messages."""

from typing import Any

MAX_LATEST = 128
"""Names kept in the latest values of a device: twice what one message may carry."""


def remember(latest: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the latest values after ``metrics`` came; past MAX_LATEST the names longest unseen are dropped."""
    if latest.keys() <= metrics.keys():
        return metrics
    merged = {name: value for name, value in latest.items() if name not in metrics} | metrics
    for name in list(merged)[: max(0, len(merged) - MAX_LATEST)]:
        del merged[name]
    return merged
