"""Errors meant for people: one clear line that says what is wrong and how to mend it."""


class ApplianceError(Exception):
    """Something a person must mend; the message is the whole story. The process ends with exit code 1."""

    exit_code = 1


class ConfigurationError(ApplianceError):
    """The configuration or the command line is wrong; nothing was started. Exit code 2."""

    exit_code = 2


class ServiceEndedError(ApplianceError):
    """A service of the process ended without being asked to. Where another error is raised beside it, that is why."""


class Invalid(ApplianceError):
    """What was asked for cannot be, whatever the state of things: 400. ``field`` names the input that is to blame."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(ApplianceError):
    """What was asked for is not there, or is another tenant's, which is the same to whoever asks: 404."""


class Conflict(ApplianceError):
    """It is there, and its state does not allow what was asked: 409. ``present_status`` names that state, if any."""

    def __init__(self, message: str, present_status: str | None = None) -> None:
        super().__init__(message)
        self.present_status = present_status


class KeyReused(ApplianceError):
    """An Idempotency-Key was used for another request before: 422."""


class NoRoom(ApplianceError):
    """The disk is full, and the change is a large one that can wait: 507."""


class Outdated(Conflict):
    """It has changed since the version that a change started from: 409, or 412 where a program said so (If-Match)."""


class VersionNeeded(ApplianceError):
    """The change would undo what somebody else made meanwhile, and does not say which version it started from: 428."""


class Busy(ApplianceError):
    """Somebody else is changing it just now. Nothing was changed; the same may be asked again in a moment: 503."""


class NoCapacity(ApplianceError):
    """No subscription of the tenant that works now has a free seat: 402."""


class Throttled(ApplianceError):
    """Too many wrong tries; whole ``seconds`` until the next one may be made: 429."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds
