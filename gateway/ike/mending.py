"""The data plane may not be as it was ordered: something was taken away, events were lost, or the network changed."""

from gateway.ike.children import remove
from gateway.ike.core import Core
from gateway.ike.driver import next_task
from gateway.ike.exchanges.informational import delete_spi
from gateway.ike.plane_protocol import Mended
from gateway.ike.reasons import TAKEN_AWAY
from gateway.ike.sa import ChildSa, IkeSa
from gateway.ike.supervise import keep_up

_SOON = 0.1
_APART = 5.0
"""Seconds between two looks at everything: a look at ten thousand states takes a part of one."""

_WORDS = {
    "policies": ("policy", "policies"),
    "routes": ("route", "routes"),
    "interfaces": ("XFRM interface", "XFRM interfaces"),
    "addresses": ("virtual address", "virtual addresses"),
    "tables": ("table of nftables", "tables of nftables"),
}


def look_soon(core: Core) -> None:
    """Compare the data plane with the books in a moment; what happens until then is looked at together."""
    if core.timers.when(("mend",)) is None:
        core.timers.set(("mend",), max(core.now + _SOON, core.ownership.compared + _APART))


def mend(core: Core) -> None:
    """Put back what can be; what carried a CHILD_SA and is gone is negotiated anew, at once where it is wanted."""
    core.ownership.compared = core.now
    found = core.plane.mend()
    _tell(core, found)
    if not found.gone:
        return
    names: dict[str, None] = {}
    for sa in list(core.sas.values()):
        for child in list(sa.children.values()):
            if found.gone & {child.inbound.key, child.outbound.key}:
                _end(core, sa, child)
                names[sa.peer_name or ""] = None
    for name in names:
        keep_up(core, name)


def _tell(core: Core, found: Mended) -> None:
    counts = {what: getattr(found, what) for what in _WORDS}
    back = [f"{number} {_WORDS[what][number > 1]}" for what, number in counts.items() if number]
    if back:
        are = "is" if sum(counts.values()) == 1 else "are"
        core.event("data-plane.mended", f"{', '.join(back)} had been taken away, and {are} back", **counts)


def _end(core: Core, sa: IkeSa, child: ChildSa) -> None:
    remove(core, sa, child, TAKEN_AWAY, quiet=child.superseded)
    delete_spi(core, sa, child.spi_in)
    next_task(core, sa)
