"""IKE_INTERMEDIATE exchanges that are due, and what they leave for the proof that follows them (RFC 9242 3.3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.crypto.keys import IkeKeys
from gateway.crypto.rows import KeyExchangeMethod, PseudoRandom
from gateway.ike.protect import Protection
from gateway.policy.ppks import Ppk
from gateway.wire.message import Message, build_payloads, build_sk_header
from gateway.wire.payloads import Payload


@dataclass(slots=True)
class Intermediate:
    """What was agreed on, how many exchanges are done, the octets that stand for each end's messages, the next keys."""

    due: tuple[KeyExchangeMethod, ...]
    with_ppk: bool
    """A post-quantum pre-shared key is agreed on in the last exchange (RFC 9867)."""
    done: int = 0
    settled: bool = False
    """It is settled which key that is, or that there is none."""
    ppk: Ppk | None = None
    auth_i: bytes = field(default=b"", repr=False)
    auth_r: bytes = field(default=b"", repr=False)
    next_keys: IkeKeys | None = field(default=None, repr=False)
    """The responder turns to these when its response has left under the old ones."""
    before: Protection | None = None
    """What protected the last exchange, if it is not what protects the next: a repeat comes under it."""

    @property
    def left(self) -> tuple[KeyExchangeMethod, ...]:
        """The key exchanges still to be done."""
        return self.due[self.done :]

    @property
    def rounds(self) -> int:
        """How many exchanges there are, where a pre-shared key goes with the last key exchange."""
        return max(len(self.due), int(self.with_ppk))

    def cover(self, prf: PseudoRandom, keys: IkeKeys, message: Message, inner: Sequence[Payload]) -> None:
        """Take one message, with the payloads inside its Encrypted payload, into its sender's IntAuth.

        It counts as if it had been sent in one piece and in the clear, but for the header of the Encrypted payload.
        """
        first, plain = build_payloads(inner)
        ends, kind = (message.spi_i, message.spi_r), message.exchange
        empty = Message(*ends, kind, message.initiator, message.response, message.message_id, [])
        empty.version, empty.other_flags = message.version, message.other_flags
        octets = build_sk_header(empty, first, len(plain)) + plain
        if message.initiator:
            self.auth_i = prf.compute(keys.pi, self.auth_i + octets)
        else:
            self.auth_r = prf.compute(keys.pr, self.auth_r + octets)

    @property
    def int_auth(self) -> bytes:
        """IntAuth_iN | IntAuth_rN | the message ID of the first IKE_AUTH, as the signed octets end with it."""
        return self.auth_i + self.auth_r + (self.done + 1).to_bytes(4) if self.done else b""
