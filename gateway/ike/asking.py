"""Questions to somebody outside who may be slow, such as a RADIUS server: one for an IKE SA at a time."""

from gateway.ike.core import Core
from gateway.ike.effects import Ask, Withdraw
from gateway.ike.flow import AskOutside
from gateway.ike.sa import IkeSa


def ask(core: Core, sa: IkeSa, asked: AskOutside) -> None:
    """Put the question; its answer, or the end of patience, goes on with the script."""
    sa.asked = core.number("outside")
    core.extensions.asked[sa.asked] = sa
    core.timers.set(("outside", sa), core.now + asked.patience)
    core.out.append(Ask(sa.asked, asked.question))


def heard(core: Core, token: int) -> IkeSa | None:
    """Whose question it was that is answered now; None when nobody waits for the answer any more."""
    sa = core.extensions.asked.pop(token, None)
    if sa is not None:
        core.timers.cancel(("outside", sa))
        sa.asked = 0
    return sa


def withdraw(core: Core, sa: IkeSa) -> None:
    """Nobody wants to know any longer."""
    if sa.asked:
        core.out.append(Withdraw(sa.asked))
        heard(core, sa.asked)
