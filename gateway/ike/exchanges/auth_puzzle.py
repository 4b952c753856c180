"""A puzzle before IKE_AUTH: who wants it decrypted pays first (RFC 8019 7.2).

The responder keeps its half of the key exchange and computes no keys until the solution is there; so it does not for
methods whose answer is made with the secret at once (ML-KEM), nor where IKE_INTERMEDIATE comes first.
"""

from gateway.crypto import groups
from gateway.ike import attempt_log, puzzles
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.deferred import Deferred
from gateway.ike.flow import ask_solution
from gateway.ike.lifecycle import close, protect
from gateway.ike.sa import IkeSa
from gateway.policy.choice import Chosen
from gateway.wire import payloads as wire
from gateway.wire.message import Message, parse
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Drop


def defer(core: Core, chosen: Chosen, public: bytes) -> Deferred | None:
    """For an initiator that has solved its IKE_SA_INIT's puzzle and goes on with IKE_AUTH, while many are forged."""
    if not core.snapshot.settings.puzzles or not core.admission.forgeries_abound(core.now):
        return None
    if chosen.prf is None or chosen.ke is None or not groups.defers(chosen.ke.number):
        return None
    core.count("auth-puzzles-sent")
    offer = groups.offer(chosen.ke.number, core.random)
    return Deferred(chosen.prf, core.admission.auth_difficulty(chosen.ke), chosen, offer, public)


def unlock(core: Core, sa: IkeSa, datagram: bytes) -> None:
    """The first IKE_AUTH request brings the solution, and there are keys. Raises Drop for all else (RFC 8019 7.2.4).

    --> HDR, PS, SK {IDi, …}
    """
    deferred = core.extensions.deferred.get(sa.our_spi)
    if deferred is None:
        raise Drop("unknown SPI")
    solutions = parse(datagram).all(wire.PuzzleSolution)
    data = sa.nonce_r + sa.spi_r
    if len(solutions) != 1 or not puzzles.solves(deferred.prf, data, solutions[0], deferred.difficulty):
        raise Drop("IKE_AUTH without the solution of its puzzle")
    core.count("auth-puzzles-solved")
    del core.extensions.deferred[sa.our_spi]
    try:
        shared = deferred.offer.finish(deferred.public)
    except groups.InvalidPublic as error:
        close(core, sa, f"the peer's key exchange is invalid: {error}", "syntax")
        raise Drop("IKE_SA_INIT with an invalid key exchange") from None
    protect(core, sa, deferred.chosen, shared)


async def solve_for_auth(core: Core, sa: IkeSa, response: Message) -> None:
    """As initiator: the responder's IKE_SA_INIT response may ask for a solution in IKE_AUTH.

    Where we cannot solve it, or it is too hard, we go on without; the responder then does not hear us.
    """
    assert sa.peer is not None
    notify = response.notify(NotifyType.PUZZLE)
    puzzle = puzzles.read_puzzle(notify, sa.peer.proposals)
    if notify is None:
        return
    text = f"it wants a puzzle of {puzzle[1]} bits solved for IKE_AUTH" if puzzle else "its puzzle is too hard for us"
    attempt_log.add(sa.attempt, Step.ALGORITHMS, text)
    if puzzle and (solution := await ask_solution(puzzle[0], sa.nonce_r + sa.spi_r, puzzle[1])):
        core.extensions.solutions[sa.our_spi] = wire.PuzzleSolution(solution)
