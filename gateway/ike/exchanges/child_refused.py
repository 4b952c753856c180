"""Why a responder made no CHILD_SA, in words."""

from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.exchanges.errors import error_in
from gateway.ike.modes import networks_text
from gateway.ike.sa import IkeSa
from gateway.policy.differences import Mismatch
from gateway.policy.peers import Child
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType, name_of
from gateway.wire.outcome import Reject


def refused(core: Core, sa: IkeSa, config: Child, response: Message) -> Reject:
    """The responder made no child; its notify says why, which is recorded."""
    notify = error_in(response)
    if notify is None:
        return core.refuse(
            sa, "syntax", Step.NETWORKS, NotifyType.INVALID_SYNTAX, "the peer answered without a CHILD_SA or an error"
        )
    name = name_of(NotifyType, notify.type)
    match notify.type:
        case NotifyType.NO_PROPOSAL_CHOSEN:
            ours = tuple(proposal.keywords for proposal in config.proposals)
            attempt_log.mismatch(sa.attempt, Mismatch(ours, ("the peer does not say",), ()))
            why = f"the peer accepts none of our ESP proposals for {config.name} (NO_PROPOSAL_CHOSEN)"
            return core.refuse(sa, "no-esp-proposal", Step.NETWORKS, notify.type, why)
        case NotifyType.TS_UNACCEPTABLE:
            wanted = networks_text(config.local, config.remote)
            attempt_log.mismatch(sa.attempt, Mismatch((wanted,), ("the peer does not say",), ()))
            why = f"the peer does not accept the networks of {config.name}: {wanted} (TS_UNACCEPTABLE)"
            return core.refuse(sa, "networks", Step.NETWORKS, notify.type, why)
        case NotifyType.SINGLE_PAIR_REQUIRED:
            wanted = networks_text(config.local, config.remote)
            attempt_log.mismatch(sa.attempt, Mismatch((wanted,), ("one pair in each CHILD_SA",), ()))
            why = f"the peer takes a single pair of addresses in a CHILD_SA, {config.name} has {wanted}"
            return core.refuse(sa, "single-pair", Step.NETWORKS, notify.type, f"{why} (SINGLE_PAIR_REQUIRED)")
        case NotifyType.INTERNAL_ADDRESS_FAILURE | NotifyType.FAILED_CP_REQUIRED:
            asks = "has no address for us" if notify.type != NotifyType.FAILED_CP_REQUIRED else "wants to give us one"
            return core.refuse(sa, "no-address", Step.NETWORKS, notify.type, f"the peer {asks} ({name})")
        case NotifyType.TEMPORARY_FAILURE:
            why = f"the peer is busy and wants to be asked again about {config.name} (TEMPORARY_FAILURE)"
            return core.refuse(sa, "refused", Step.NETWORKS, notify.type, why)
        case _:
            return core.refuse(
                sa, "peer-error", Step.NETWORKS, notify.type, f"the peer answered {name} for {config.name}"
            )
