"""Whether the other end is still there, and whether a CHILD_SA is still used (RFC 7296 2.4)."""

from gateway.ike.children import watch_idleness
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.informational import delete_child, liveness
from gateway.ike.reasons import IDLE
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.ike.succession import expect_confirmation

_HINT_QUIET = 3.0
"""A peer that we heard that recently is not asked again because somebody says it is gone."""


def check_liveness(core: Core, sa: IkeSa) -> None:
    """The peer was quiet for its `dpd_delay`: ESP that came from it is life too, else it is asked."""
    if sa.state != Lifecycle.ESTABLISHED or sa.peer is None or not sa.peer.dpd_delay:
        return
    if sa.nat.here and (old := core.sas.get(sa.requests.silent)):
        if not old.requests.busy:
            _ask(core, old)
        expect_confirmation(core, sa)
        return
    delay, heard = sa.peer.dpd_delay, sa.last_heard
    if core.now - heard >= delay / 2:
        for child in sa.children.values():
            core.traffic.look(child, core.now, delay / 8)
            heard = max(heard, child.heard)
    quiet = core.now - heard
    if quiet >= delay and not sa.requests.busy:
        _ask(core, sa)
        quiet = 0.0
    # twice in the interval: a look tells that ESP came since the one before
    step = delay / 2 if sa.children else delay
    wait = step - quiet if quiet < step else delay - quiet
    core.timers.set(("liveness", sa), core.now + max(wait, 0.5))


def _ask(core: Core, sa: IkeSa, spi: int = 0) -> None:
    start(core, sa, Task("checking liveness", lambda sa: liveness(core, sa, spi)))


def suspect(core: Core, sa: IkeSa, spi: int = 0) -> None:
    """Something that anybody may have made up says that the peer is gone: ask it now, and believe only its silence.

    RFC 7296 2.21.4; a peer that was just heard is not asked, so that nobody can make us ask without end.
    """
    if sa.state == Lifecycle.ESTABLISHED and not sa.requests.busy and core.now - sa.last_heard >= _HINT_QUIET:
        core.count("liveness-checks-on-a-hint")
        _ask(core, sa, spi)


def suspect_address(core: Core, remote: str, spi: int = 0) -> bool:
    """Ask every peer at this address; whether there is one. At most so many such hints a second are looked into.

    `spi` other than 0 is told to it too: ESP for it came, and nobody has it.
    """
    if not core.rates.hints.take(core.now):
        core.count("hints-not-followed")
        return True
    found = [sa for sa in core.sas.values() if sa.path.remote == remote and sa.state == Lifecycle.ESTABLISHED]
    for sa in found:
        suspect(core, sa, spi)
    return bool(found)


def check_idleness(core: Core, name: str, child: ChildSa) -> None:
    """A CHILD_SA through which nothing went either way for its `idle_timeout` is deleted."""
    limit = child.config.idle_timeout
    sa = next((sa for sa in core.of_peer(name) if sa.children.get(child.spi_in) is child), None)
    if sa is None or sa.state not in (Lifecycle.ESTABLISHED, Lifecycle.REKEYED) or not limit:
        return
    core.traffic.look(child, core.now)
    idle = core.now - child.used
    if idle < limit:
        watch_idleness(core, name, child)
        return
    why = IDLE.format(seconds=idle)
    start(core, sa, Task(f"deleting CHILD_SA {child.name}", lambda sa: delete_child(core, sa, child, why)))
