"""Where the large test vectors lie, if this machine has them."""

import os
from pathlib import Path

import pytest


def vectors() -> Path:
    """The folder of vectors: IKEGATE_VECTORS, else ../shared/vectors beside the repository; else skip."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "vectors"
    root = Path(os.environ.get("IKEGATE_VECTORS", default))
    if not root.is_dir():
        pytest.skip(f"no test vectors at {root}: set IKEGATE_VECTORS to the folder that holds them")
    return root
