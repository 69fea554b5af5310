"""A logger of the standard library in the place of the engine's own."""

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog


def default_logger() -> logging.Logger:
    logger = logging.getLogger("aiomqtt")
    logger.setLevel(logging.WARNING)
    return logger


def structured(logger: logging.Logger) -> Any:
    """Return the logger as the engine calls it: an event and what belongs to it."""
    return structlog.wrap_logger(
        logger, processors=[structlog.stdlib.filter_by_level, _line], wrapper_class=structlog.stdlib.BoundLogger
    )


def _line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    said = event.pop("event")
    return f"{said}: {', '.join(f'{name}={value}' for name, value in event.items())}"
