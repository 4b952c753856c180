"""How the garbage collector treats a process that holds many SAs for long."""

import gc


def tidy() -> None:
    """What is there now lives to the end: do not look at it again with every full collection.

    With CPython's own thresholds a fifth of a handshake's time goes into looking at SAs that stand. Few new objects at
    a time are looked at twice: with many, that alone held up the event loop for a sixth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 2, 400)
