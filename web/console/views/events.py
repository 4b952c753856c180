"""The stream of what happened, searched."""

from collections.abc import Iterable

from gateway.service.journal import Record

TOPICS = (
    ("", "Everything"),
    ("ike-sa", "IKE SAs"),
    ("child-sa", "Child SAs"),
    ("attempt", "Attempts"),
    ("config", "Configuration"),
    ("admin", "Administrators"),
)


def matching(records: Iterable[Record], query: str = "", topic: str = "", peer: str = "") -> list[Record]:
    """Records whose text, kind or peer has every word of `query`, in the order given."""
    words = query.lower().split()
    return [
        record
        for record in records
        if (not topic or record.topic == topic) and (not peer or record.peer == peer) and _has(record, words)
    ]


def _has(record: Record, words: list[str]) -> bool:
    text = f"{record.text}\n{record.kind}\n{record.peer or ''}".lower()
    return all(word in text for word in words)
