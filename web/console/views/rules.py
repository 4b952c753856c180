"""Shunts and blocked sources as the page of network rules lists them."""

from dataclasses import dataclass

from gateway.storage.objects import Inventory
from gateway.storage.rules import BlockObject, ShuntObject


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One blocked network; `expires_at` is Unix time, None for ever."""

    network: str
    reason: str
    expires_at: float | None
    over: bool


def shunt_rows(inventory: Inventory) -> tuple[ShuntObject, ...]:
    """In the order in which they are asked."""
    return tuple(sorted(inventory.shunts.values(), key=lambda shunt: (shunt.priority, shunt.name)))


def block_rows(inventory: Inventory, now: float) -> tuple[BlockRow, ...]:
    """What is blocked now first."""
    rows = (_row(block, now) for block in inventory.blocks.values())
    return tuple(sorted(rows, key=lambda row: (row.over, row.network)))


def _row(block: BlockObject, now: float) -> BlockRow:
    over = block.expires_at is not None and block.expires_at <= now
    return BlockRow(block.network, block.reason, block.expires_at, over)
