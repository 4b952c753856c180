"""Why an SA ends when that is meant: told apart from failures wherever ends are counted or shown."""

from enum import StrEnum

DISCONNECTED = "disconnected by an administrator"
TERMINATED = "terminated by an administrator"
RECONFIGURED = "its configuration changed"
REMOVED = "its configuration was removed"
STOPPED = "this gateway stops"
TAKEN_AWAY = "its states were removed from the data plane, and not by this gateway"
DELETED = "the peer deleted it"
FRUITLESS = "it has no CHILD_SA and can get none: {refusal}"
NO_ADDRESS = "the peer gave us no address by it, and is asked again"
IDLE = "nothing went through it for {seconds:.0f} seconds (idle timeout)"


class Kind(StrEnum):
    """Who or what ended it."""

    FAILURE = "failure"
    ADMINISTRATOR = "administrator"
    CONFIGURATION = "configuration"
    IDLE = "idle"
    STOP = "stop"


_KINDS = {
    DISCONNECTED: Kind.ADMINISTRATOR,
    TERMINATED: Kind.ADMINISTRATOR,
    RECONFIGURED: Kind.CONFIGURATION,
    REMOVED: Kind.CONFIGURATION,
    STOPPED: Kind.STOP,
}


def kind_of(why: str) -> Kind:
    """What kind of end this reason tells of; all that nobody meant is a failure."""
    if why.endswith("(idle timeout)"):
        return Kind.IDLE
    return _KINDS.get(why, Kind.FAILURE)
