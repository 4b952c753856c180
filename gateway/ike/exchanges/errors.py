"""The errors that a message tells of (RFC 7296 3.10.1)."""

from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType


def errors_in(message: Message) -> list[wire.Notify]:
    """Its notifies that are errors: their types are below all that only tell of something."""
    return [notify for notify in message.all(wire.Notify) if notify.type < NotifyType.INITIAL_CONTACT]


def error_in(message: Message) -> wire.Notify | None:
    """The first of them."""
    return next(iter(errors_in(message)), None)
