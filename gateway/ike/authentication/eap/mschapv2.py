"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2, RFC 2759): a password, proven both ways, and a key."""

import hmac

from gateway.crypto import mschap
from gateway.ike.authentication.eap.gate import Account, Gate, Proven
from gateway.ike.authentication.eap.talk import Failed, PeerTalk, ServerTalk, clean, read
from gateway.policy.users import User
from gateway.wire.eap import MsChap, MsChapChallenge, MsChapOp, MsChapResponse, words
from gateway.wire.numbers import EapType
from gateway.wire.payloads import EAP

_KIND = EapType.EAP_MSCHAP_V2
_NOBODY = User("", b"no password of anybody")
_WRONG, _EXPIRED = "691", "648"  # RFC 2759 6
_MEANINGS = {
    "646": "restricted logon hours",
    "647": "the account is disabled",
    _EXPIRED: "the password has expired, and a change of it within EAP is not offered",
    "649": "no permission to dial in",
    _WRONG: "wrong user name or password",
    "709": "the change of the password failed",
}


async def serve(talk: ServerTalk, gate: Gate, claimed: str) -> Proven:
    """Ask for the password's proof, and give our own. One try: who mistyped begins anew.

    <-- Request/Challenge(challenge, name)
    --> Response/Response(peer challenge, NT-Response, name)
    <-- Request/Success(S=…)      or Request/Failure(E=691 R=0 …)
    --> Response/Success          or Response/Failure
    """
    challenge, number = gate.random(mschap.CHALLENGE_OCTETS), talk.identifier
    opening = MsChap(MsChapOp.CHALLENGE, number, MsChapChallenge(challenge, gate.name).octets())
    got = read(MsChap.read, await talk.ask(_KIND, opening.octets()))
    if got.op == MsChapOp.CHANGE_PASSWORD:
        raise Failed("eap-protocol", "the peer wants to change its password within EAP, which is not offered")
    if got.op != MsChapOp.RESPONSE or got.identifier != number:
        raise Failed("eap-protocol", "the peer did not answer the EAP-MSCHAPv2 challenge that it was asked")
    answer = read(MsChapResponse.read, got.body)
    booked, user = gate.attempt(claimed), gate.find(claimed)
    cause, why = "eap-user", gate.judge(claimed, user)
    if user is None or why:  # as long as with somebody who may come in, or the time would tell
        _matching(gate, _NOBODY, challenge, answer)
    else:
        if proof := _matching(gate, user, challenge, answer):
            return await _welcome(talk, gate, number, user, booked, *proof)
        cause, why = "eap-password", f"the user {user.name} gave a wrong password"
        if user.totp_secret:
            why += " or one-time code"
    refusal = b"E=691 R=0 C=" + gate.random(mschap.CHALLENGE_OCTETS).hex().upper().encode() + b" V=3 M=no"
    failed = Failed(cause, why)
    gate.doomed(failed)
    await talk.ask(_KIND, MsChap(MsChapOp.FAILURE, number, refusal).octets())
    raise failed


def _matching(gate: Gate, user: User, challenge: bytes, answer: MsChapResponse) -> tuple[bytes, bytes, bytes] | None:
    """The password's hash hashed, the response, the hash of the challenges, when the answer is this user's.

    The name that the answer is made with must lead to him, too: it is what the peer proves to be.
    """
    named = gate.find(answer.name.decode("utf-8", "replace"))
    hashed = mschap.challenge_hash(answer.peer_challenge, challenge, answer.name.rpartition(b"\\")[2])

    def fits(password: bytes) -> bool:
        right = hmac.compare_digest(mschap.nt_response(mschap.nt_hash(password), hashed), answer.nt_response)
        return right and named is not None and named.name == user.name

    password = gate.typed(user, fits)
    if password is None:
        return None
    return mschap.hash_hash(mschap.nt_hash(password)), answer.nt_response, hashed


async def _welcome(
    talk: ServerTalk, gate: Gate, number: int, user: User, booked: str, key: bytes, response: bytes, hashed: bytes
) -> Proven:
    """The password is right: show that we know it, too."""
    gate.right(booked)
    text = mschap.authenticator_response(key, response, hashed) + b" M=welcome"
    got = read(MsChap.read, await talk.ask(_KIND, MsChap(MsChapOp.SUCCESS, number, text).octets()))
    if got.op != MsChapOp.SUCCESS:
        raise Failed("eap-password", f"{user.name} does not take our proof of the password")
    return Proven(user.name, _KIND, mschap.msk(key, response), user)


async def prove(talk: PeerTalk, account: Account, asked: EAP) -> bytes:
    """Answer the challenge, and believe the server only when it knows the password, too; the MSK."""
    opening = read(MsChap.read, asked.method_data)
    if opening.op != MsChapOp.CHALLENGE:
        raise Failed("eap-protocol", "the server begins EAP-MSCHAPv2 without a challenge")
    challenge = read(MsChapChallenge.read, opening.body)
    mine = account.random(mschap.CHALLENGE_OCTETS)
    key = mschap.nt_hash(account.password)
    hashed = mschap.challenge_hash(mine, challenge.challenge, account.bare_name)
    response = mschap.nt_response(key, hashed)
    answer = MsChap(MsChapOp.RESPONSE, opening.identifier, MsChapResponse(mine, response, account.identity).octets())
    asked = await talk.next_of(asked, _KIND, answer.octets())
    verdict = read(MsChap.read, asked.method_data)
    if verdict.op == MsChapOp.FAILURE:
        await talk.answer(asked, _KIND, MsChap(MsChapOp.FAILURE).octets())
        raise Failed("eap-refused", f"the server refuses our password: {_meaning(verdict.body)}", told=True)
    if verdict.op != MsChapOp.SUCCESS:
        raise Failed("eap-protocol", "the server neither takes nor refuses our EAP-MSCHAPv2 response")
    twice = mschap.hash_hash(key)
    expected = mschap.authenticator_response(twice, response, hashed)
    if not hmac.compare_digest(verdict.body[: len(expected)].upper(), expected):
        raise Failed("eap-server", "the server does not know our password: it only said so")
    await talk.finish(asked, _KIND, MsChap(MsChapOp.SUCCESS).octets())
    return mschap.msk(twice, response)


def _meaning(body: bytes) -> str:
    """In words: `E=691 R=0 C=… V=3 M=text`."""
    said = words(body)
    meaning = _MEANINGS.get(said.get("E", ""), "it does not say why")
    return f"{meaning} ({clean(said['M'].encode())})" if said.get("M") else meaning
