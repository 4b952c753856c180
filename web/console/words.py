"""Numbers, times and states in the words that pages use."""

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from gateway.ike.attempts import Outcome
from gateway.service.status import AccessStatus, IkeSaStatus, TunnelState


@dataclass(frozen=True, slots=True)
class State:
    """A state as it is shown: `css` names both the shape and the colour; `urgency` sorts what needs attention first."""

    word: str
    css: str
    urgency: int


TUNNEL_STATES: dict[TunnelState, State] = {
    TunnelState.UP: State("Up", "up", 0),
    TunnelState.DEGRADED: State("Up, degraded", "degraded", 3),
    TunnelState.CONNECTING: State("Connecting", "connecting", 2),
    TunnelState.DOWN: State("Down", "down", 4),
    TunnelState.WAITING: State("Waiting", "waiting", 0),
    TunnelState.DISABLED: State("Disabled", "disabled", 0),
}
OUTCOMES: dict[Outcome, State] = {
    Outcome.RUNNING: State("Running", "connecting", 2),
    Outcome.ESTABLISHED: State("Established", "up", 0),
    Outcome.FAILED: State("Failed", "down", 4),
}
_SA_STATES = {
    "rekeying": "connecting",
    "established": "up",
    "installed": "up",
    "connecting": "connecting",
    "rekeyed": "waiting",
    "deleting": "disabled",
}
_OCTET_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def ike_sa_state(sa: IkeSaStatus) -> State:
    """An IKE SA's lifecycle row; one whose peer was refused its child is none that works."""
    if sa.refusal and sa.state == "established":
        return State("No child SA", "down", 0)
    return sa_state(sa.state)


def sa_state(state: str) -> State:
    """An SA's lifecycle row; a row this page does not know is shown by its own name."""
    return State(state.capitalize(), _SA_STATES.get(state.lower(), "disabled"), 0)


def octets(count: float) -> str:
    """A count of octets in decimal units with three significant digits (`1.24 GB`)."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_OCTET_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{int(value)} B"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {_OCTET_UNITS[unit]}"


def grouped(count: int) -> str:
    """A count with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float) -> str:
    """Seconds in the two largest units; never negative."""
    total = max(0, int(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    if total < 86400:
        return f"{total // 3600} h {total // 60 % 60} min"
    return f"{total // 86400} d {total // 3600 % 24} h"


def left(at: float, now: float) -> str:
    return "now" if at <= now else f"in {duration(at - now)}"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def iso(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds, for machines (`<time datetime>`)."""
    return _utc(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: float) -> str:
    return _utc(at).strftime("%H:%M:%S UTC")


def moment(at: float, now: float) -> str:
    """A time of today as a clock, any other with its day."""
    then = _utc(at)
    if then.date() == _utc(now).date():
        return then.strftime("%H:%M:%S UTC")
    day = f"{then.day} {then:%b}" + (f" {then.year}" if then.year != _utc(now).year else "")
    return f"{day}, {then:%H:%M} UTC"


def tunnel(name: str) -> str:
    """The address of a tunnel's page."""
    return "/tunnels/" + quote(name, safe="")


def profile_reason(group: str) -> str:
    """Why a user has his access profile."""
    return f"by the group {group}" if group else "his own"


def access_rules(access: AccessStatus) -> str:
    """What a session's rules let through, in a sentence's end."""
    networks = ", ".join(access.networks) or "anywhere"
    return f"{access.tunnel} tunnel, {networks}{', masqueraded' if access.masquerade else ''}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 tunnel`, `3 tunnels`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(words: list[str], most: int = 3) -> str:
    """`a`, `a and b`, `a, b and 4 more`."""
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """The text as a sentence: one full stop, and a capital unless it begins with a name (`net: …`)."""
    text = text.strip()
    if not text:
        return text
    if not text.split(maxsplit=1)[0].endswith(":"):
        text = text[:1].upper() + text[1:]
    return text if text[-1] in ".!?…" else text + "."
