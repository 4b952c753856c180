"""Who changes what, in tests of the configuration."""

from typing import Any

import pytest

from gateway.service.manage import Invalid, Terms

ME = Terms("me")
DRY = Terms("me", dry_run=True)
NET = {"name": "net", "local_selectors": ["10.1.0.0/24"], "remote_selectors": ["10.2.0.0/24"]}
SUN: dict[str, Any] = {
    "local_id": "moon.example",
    "remote_id": "sun.example",
    "remote_addresses": ["192.0.2.1"],
    "children": [NET],
}


def codes(invalid: pytest.ExceptionInfo[Invalid]) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in invalid.value.errors]


KEY = {"secret": "the quick brown fox", "remote_ids": ["sun.example"]}
