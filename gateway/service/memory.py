"""How the garbage collector treats a process that holds many SAs for long."""

import gc


def tidy() -> None:
    """What is there now lives to the end: do not look at it again with every full collection.

    With CPython's own thresholds a fifth of a handshake's time goes into looking at SAs that stand.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
