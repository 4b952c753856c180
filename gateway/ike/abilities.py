"""What the two ends of an IKE SA agreed on beyond RFC 7296, in one number: an SA has many abilities and one slot."""

from enum import IntFlag


class Ability(IntFlag):
    """Kept with an SA for its life, and passed on when it is rekeyed."""

    NONE = 0
    SENDS_ON = 1
    """The peer called us and can be sent to another gateway (RFC 5685)."""
    IS_SENT_ON = 2
    """We called, and go where the peer sends us (RFC 5685)."""
    GIVES_TICKETS = 4
    """The peer has given us a ticket, and so will do it again (RFC 5723)."""
    HAS_TICKET = 8
    """The peer has a ticket of ours (RFC 5723)."""
    SYNCHRONISES_IDS = 16
    """After a failover of one end both agree on message IDs again (RFC 6311)."""
    SYNCHRONISES_REPLAY = 32
    """ESP's sequence numbers can skip forward at the other end's wish (RFC 6311)."""
    CALLED = 64
    """We called, and authenticate again when it is time (RFC 4478)."""
    MAY_USE_PPK = 128
    """Both ends use post-quantum pre-shared keys, and mix one in in IKE_AUTH (RFC 8784)."""
    USES_PPK = 256
    """One is mixed into the keys of this SA or of one that it descends from."""
    MAY_USE_PPK_INT = 512
    """As MAY_USE_PPK, but in IKE_INTERMEDIATE (RFC 9867); never both."""
    RESUMED = 1024
    """Its keys are made of those of an IKE SA before it, without a key exchange (RFC 5723); not passed on."""
    WANTS_OCSP = 4096
    """It asked for an OCSP response beside our certificate (RFC 4806)."""
