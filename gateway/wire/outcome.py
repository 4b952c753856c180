"""The three ways in which handling a peer's message can fail, each with a sentence for a person."""

from gateway.wire.payload import Payload


class Drop(Exception):
    """Not for us: counted and otherwise ignored; nothing is answered."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Reject(Exception):
    """This exchange fails and is answered with `notify`; the SA lives on. `esp_spi` names the CHILD_SA it is about."""

    def __init__(self, notify: int, why: str, data: bytes = b"", *, esp_spi: bytes = b"") -> None:
        super().__init__(why)
        self.notify = int(notify)
        self.why = why
        self.data = data
        self.esp_spi = esp_spi


class Close(Exception):
    """The SA ends and keeps `why` as its reason; `notify` (None: nothing) is told to the peer, or `parting` instead."""

    def __init__(self, notify: int | None, why: str, data: bytes = b"") -> None:
        super().__init__(why)
        self.notify = None if notify is None else int(notify)
        self.why = why
        self.data = data
        self.parting: Payload | None = None
