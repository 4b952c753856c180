"""Who says what next in EAP: the rules that hold for every method (RFC 3748 2, 4, 5).

A method is a script. It asks the other end through a Talk, which checks all that is not the method's own: codes,
identifiers, types, how many rounds. `carry` is how a packet gets over and the next one comes back.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.policy.identities import Identity
from gateway.wire import eap
from gateway.wire.numbers import EapCode, EapType, IdType, name_of
from gateway.wire.outcome import Drop
from gateway.wire.payloads import EAP

MAX_ROUNDS = 64
"""Requests of one conversation: a TLS handshake with long chains takes some thirty of them."""
_MAX_NOTES = 4
_NOTE_CHARACTERS = 200

Carry = Callable[[EAP], Awaitable[EAP]]
Value = TypeVar("Value")


class Failed(Exception):
    """The conversation is over, and has failed: `cause` as in attempts, `why` a sentence.

    `told` tells that the other end said so first, by EAP Failure.
    """

    def __init__(self, cause: str, why: str, *, told: bool = False) -> None:
        super().__init__(why)
        self.cause = cause
        self.why = why
        self.told = told


class Refused(Exception):
    """The other end does not take the method that was begun, and names those that it would."""

    def __init__(self, wanted: tuple[int, ...]) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def clean(octets: bytes) -> str:
    """What the other end wrote, for a sentence of ours."""
    return Identity(IdType.ID_FQDN, octets[:_NOTE_CHARACTERS]).text


def method_name(kind: int | None) -> str:
    """As an administrator reads it: EAP-MSCHAPV2, EAP-TLS, or the number."""
    name = name_of(EapType, kind) if kind is not None else "nothing"
    words = {"MD5_CHALLENGE": "EAP-MD5", "EAP_TLS": "EAP-TLS", "EAP_MSCHAP_V2": "EAP-MSCHAPv2", "PEAP": "EAP-PEAP"}
    return words.get(name) or (name.replace("_", "-") if name.startswith("EAP") else f"EAP type {name}")


class ServerTalk:
    """The server's end: it asks, and each request has one answer."""

    def __init__(self, carry: Carry, identifier: int) -> None:
        self._carry = carry
        self.identifier = identifier
        self._rounds = 0
        self.fresh = False
        """Whether a method is about to begin: only its first request may be answered with a Nak (RFC 3748 5.3.1)."""

    async def ask(self, kind: int, data: bytes) -> bytes:
        """The peer's answer to this request, without its type. Raises Failed, Refused."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise Failed("eap-protocol", f"EAP did not come to an end in {MAX_ROUNDS} rounds")
        fresh, self.fresh = self.fresh, False
        asked = EAP(EapCode.REQUEST, self.identifier, bytes((kind,)) + data)
        got = await self._carry(asked)
        if got.code != EapCode.RESPONSE:
            raise Failed("eap-protocol", f"the peer sent EAP {name_of(EapCode, got.code)} where only a response is due")
        if got.identifier != self.identifier:
            raise Failed("eap-protocol", "the peer's EAP response is for another request than ours (identifier)")
        self.identifier = (self.identifier + 1) & 0xFF
        if got.method == kind:
            return got.method_data
        if got.method == EapType.LEGACY_NAK and fresh:
            raise Refused(read(eap.read_nak, got.method_data))
        if got.method == EapType.LEGACY_NAK:
            raise Failed("eap-protocol", f"the peer refused {method_name(kind)} after it had begun it")
        raise Failed("eap-protocol", f"the peer answered {method_name(kind)} with {method_name(got.method)}")


class PeerTalk:
    """The peer's end: it answers, and the next request comes, or the end."""

    def __init__(self, carry: Carry) -> None:
        self._carry = carry
        self._rounds = 0
        self.notes: list[str] = []
        """What the server wished to be shown (RFC 3748 5.2)."""

    async def answer(self, asked: EAP, kind: int, data: bytes) -> EAP:
        """What comes after our answer to `asked`: a request that is no notification, Success or Failure."""
        got = await self._over(EAP(EapCode.RESPONSE, asked.identifier, bytes((kind,)) + data))
        return await self.heed(got)

    async def heed(self, got: EAP) -> EAP:
        """The same packet, after any notifications before it were acknowledged. Raises Failed."""
        while got.code == EapCode.REQUEST and got.method == EapType.NOTIFICATION:
            if len(self.notes) < _MAX_NOTES:
                self.notes.append(clean(got.method_data))
            got = await self._over(EAP(EapCode.RESPONSE, got.identifier, bytes((EapType.NOTIFICATION,))))
        if got.code == EapCode.REQUEST and got.method is None:
            raise Failed("eap-protocol", "the server sent an EAP request without a type")
        if got.code not in (EapCode.REQUEST, EapCode.SUCCESS, EapCode.FAILURE):
            raise Failed(
                "eap-protocol", f"the server sent EAP {name_of(EapCode, got.code)}, which is none of its words"
            )
        return got

    async def next_of(self, asked: EAP, kind: int, data: bytes) -> EAP:
        """The method goes on: after our answer a request of the same method is due, and nothing else. Raises Failed."""
        got = await self.answer(asked, kind, data)
        if got.code == EapCode.FAILURE:
            raise Failed("eap-refused", f"the server ended {method_name(kind)} with EAP Failure", told=True)
        if got.code == EapCode.SUCCESS:
            raise Failed("eap-protocol", f"the server sent EAP Success before {method_name(kind)} was at its end")
        if got.method != kind:
            raise Failed("eap-protocol", f"the server changed from {method_name(kind)} to {method_name(got.method)}")
        return got

    async def finish(self, asked: EAP, kind: int, data: bytes) -> None:
        """The method is at its end: after our last answer nothing but Success is due. Raises Failed."""
        got = await self.answer(asked, kind, data)
        if got.code == EapCode.FAILURE:
            raise Failed("eap-refused", f"the server refused us at the end of {method_name(kind)}", told=True)
        if got.code != EapCode.SUCCESS:
            raise Failed("eap-protocol", f"the server goes on after the end of {method_name(kind)}")

    async def _over(self, packet: EAP) -> EAP:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise Failed("eap-protocol", f"EAP did not come to an end in {MAX_ROUNDS} rounds")
        return await self._carry(packet)


def read(reader: Callable[[bytes], Value], data: bytes) -> Value:
    """What a codec makes of these octets; what is no such thing ends the conversation."""
    try:
        return reader(data)
    except Drop as drop:
        raise Failed("eap-protocol", drop.why) from None
