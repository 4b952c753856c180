"""The data plane may not be as it was ordered: something was taken away, events were lost, or the network changed."""

from gateway.ike.children import remove
from gateway.ike.core import Core
from gateway.ike.driver import next_task
from gateway.ike.exchanges.informational import delete_spi
from gateway.ike.reasons import TAKEN_AWAY
from gateway.ike.sa import ChildSa, IkeSa
from gateway.ike.supervise import keep_up

_SOON = 0.1
_APART = 5.0
"""Seconds between two looks at everything: a look at ten thousand states takes a part of one."""


def look_soon(core: Core) -> None:
    """Compare the data plane with the books in a moment; what happens until then is looked at together."""
    if core.timers.when(("mend",)) is None:
        core.timers.set(("mend",), max(core.now + _SOON, core.ownership.compared + _APART))


def mend(core: Core) -> None:
    """Put back what can be; what carried a CHILD_SA and is gone is negotiated anew, at once where it is wanted."""
    core.ownership.compared = core.now
    found = core.plane.mend()
    if found.policies or found.routes:
        text = f"{found.policies} policies and {found.routes} routes had been taken away, and are back"
        core.event("data-plane.mended", text, policies=found.policies, routes=found.routes)
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


def _end(core: Core, sa: IkeSa, child: ChildSa) -> None:
    remove(core, sa, child, TAKEN_AWAY, quiet=child.superseded)
    delete_spi(core, sa, child.spi_in)
    next_task(core, sa)
