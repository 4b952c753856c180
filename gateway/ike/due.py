"""What is to be done when a timer has come, by the key that it was set under."""

from gateway.ike import driver, fruitless, lifetimes, losses, requiring
from gateway.ike.answering import forget_answers, outside_silent
from gateway.ike.authentication.again import proof_ends
from gateway.ike.core import Core
from gateway.ike.exchanges.collisions import answer_crossing
from gateway.ike.exchanges.informational import delete_sa, end_replaced
from gateway.ike.lifecycle import close, stop_following
from gateway.ike.liveness import check_idleness, check_liveness
from gateway.ike.mending import mend
from gateway.ike.sa import ChildSa, IkeSa
from gateway.ike.supervise import keep_up, want_traps
from gateway.ike.window import Window

KEEPALIVE = b"\xff"  # RFC 3948 2.3


def act(core: Core, key: object) -> None:
    """Do what this timer was set for."""
    match key:
        case ("retransmit", IkeSa() as sa):
            driver.retransmit(core, sa)
        case ("half-open" | "outside" | "follow-up" | "crossing" as what, IkeSa() as sa):
            _in_vain(core, what, sa)
        case ("fragments", IkeSa() as sa, Window() as window):
            losses.forget(sa, window)
        case ("last-answers",):
            forget_answers(core)
        case ("linger" | "sent-on" | "post-quantum" as what, IkeSa() as sa):
            _outlived(core, what, sa)
        case ("liveness", IkeSa() as sa):
            check_liveness(core, sa)
        case ("idle", str() as name, ChildSa() as unused):
            check_idleness(core, name, unused)
        case ("keepalive", IkeSa() as sa):
            core.send(KEEPALIVE, sa.path, sa.dscp)
            core.timers.set(key, core.now + core.snapshot.settings.keepalive)
        case ("proof-ends" | "fruitless" as what, IkeSa() as sa):
            (proof_ends if what == "proof-ends" else fruitless.due)(core, sa)
        case ("mend" | "post-quantum" as what,):
            (mend if what == "mend" else requiring.enforce)(core)
        case ("trap" | "retry" | "ml-kem" as what, str() as name):
            {"trap": want_traps, "retry": keep_up, "ml-kem": requiring.try_again}[what](core, name)
        case _:
            lifetimes.due(core, key)


def _in_vain(core: Core, what: str, sa: IkeSa) -> None:
    """What was to come next did not."""
    match what:
        case "half-open":
            lost = losses.of_half_open(sa)
            why = f"the peer began, but did not go on to IKE_AUTH{f': {lost}' if lost else ''}"
            close(core, sa, why, losses.CAUSE if lost else "timeout")
        case "outside":
            outside_silent(core, sa)
        case "crossing":
            answer_crossing(core, sa)
        case _:
            stop_following(core, sa)


def _outlived(core: Core, what: str, sa: IkeSa) -> None:
    """An SA has had its time: another one replaced it, here or elsewhere, or its keys are not what is required."""
    if what == "post-quantum":
        requiring.due(core, sa)
    elif what == "linger":
        end_replaced(core, sa)
    else:
        delete_sa(core, sa, "its peer was sent on to another gateway")
