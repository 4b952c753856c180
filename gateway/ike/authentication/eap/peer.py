"""EAP's peer: say who we are, and take a method that we have the means for, or name those (RFC 3748 2, 5.3)."""

from gateway.ike.authentication.eap.gate import Account, Proven
from gateway.ike.authentication.eap.methods import by_number
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, method_name
from gateway.wire import eap
from gateway.wire.numbers import EapCode, EapType
from gateway.wire.payloads import EAP

_MAX_IDENTITIES = 3
_MAX_NAKS = 8


async def prove(talk: PeerTalk, account: Account, first: EAP) -> Proven:
    """Until the server says Success, which it may say at the end of a method alone. Raises Failed."""
    asked, identities, naks = await talk.heed(first), 0, 0
    while True:
        if asked.code == EapCode.FAILURE:
            refused = f" after we refused {naks} of its methods" if naks else ""
            raise Failed("eap-refused", f"the server ended EAP with Failure{refused}", told=True)
        if asked.code == EapCode.SUCCESS:
            raise Failed("eap-protocol", "the server sent EAP Success before anybody had proven anything")
        kind = asked.method
        if kind == EapType.IDENTITY and identities < _MAX_IDENTITIES and not naks:
            identities += 1
            asked = await talk.answer(asked, kind, account.identity)
        elif kind in account.methods and (method := by_number(kind)) is not None:
            key = await method.prove(talk, account, asked)
            return Proven(account.identity.decode("utf-8", "replace"), method.number, key)
        elif kind is None or kind < EapType.MD5_CHALLENGE or naks >= _MAX_NAKS:
            raise Failed("eap-protocol", f"the server asks for {method_name(kind)} where it has no place")
        else:
            naks += 1
            asked = await _refuse(talk, account, asked)


async def _refuse(talk: PeerTalk, account: Account, asked: EAP) -> EAP:
    """An unknown vendor's method is refused in the vendors' form, any other in the old one."""
    if asked.method == EapType.EXPANDED:
        return await talk.answer(asked, EapType.EXPANDED, eap.expanded_nak(account.methods))
    return await talk.answer(asked, EapType.LEGACY_NAK, eap.nak(account.methods))
