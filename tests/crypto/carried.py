"""The small vectors that lie in the repository, with their origin."""

import json
from pathlib import Path
from typing import Any

CARRIED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "crypto.json").read_text())


def unhex(case: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]
