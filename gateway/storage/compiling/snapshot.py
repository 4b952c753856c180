"""From what the administrator wrote to the frozen policy that the engine reads; every mistake is found."""

from gateway.policy.peers import Peer, Psk
from gateway.policy.snapshot import Snapshot
from gateway.storage.compiling.access_profiles import compile_profiles
from gateway.storage.compiling.peers import compile_peer, compile_proposal, compile_psk
from gateway.storage.compiling.people import check_pools, compile_people
from gateway.storage.compiling.post_quantum import check_ppks, compile_ppks
from gateway.storage.compiling.rules import blocked_at, check_blocks, check_interfaces, compile_settings, compile_shunts
from gateway.storage.compiling.trust import Trust, compile_trust
from gateway.storage.findings import Findings, Pointers
from gateway.storage.objects import SETTINGS, Inventory


def compile_snapshot(
    inventory: Inventory,
    pointer: Pointers,
    known: tuple[Inventory, Snapshot] | None = None,
    now: float = 0.0,
) -> Snapshot:
    """The policy of a whole inventory. Raises Invalid with all findings, each under `pointer(kind, name)`.

    Peers and keys that are the very same in `known`, an inventory with its policy, are taken from there. Blocks that
    ran out by `now`, Unix time in seconds, are left out.
    """
    found = Findings()
    suites = {
        name: (document.protocol, compile_proposal(document, pointer("proposals", name), found))
        for name, document in inventory.proposals.items()
    }
    psks = _compile_psks(inventory, pointer, known, found)
    trust = compile_trust(inventory, pointer, found)
    people = compile_people(inventory, pointer, found)
    check_pools(inventory, pointer, found)
    profiles = compile_profiles(inventory, suites, pointer, found)
    ppks = compile_ppks(inventory, pointer, found)
    check_ppks(inventory, pointer, found)
    unchanged = _unchanged_peers(inventory, trust, known) if known else {}
    peers = [
        peer
        for name, document in inventory.peers.items()
        if (
            peer := unchanged.get(name)
            or compile_peer(
                document, suites, trust, inventory.secrets.get(("peers", name)), pointer("peers", name), found
            )
        )
    ]
    check_interfaces(peers, unchanged, pointer, found)
    shunts = compile_shunts(inventory, pointer, found)
    settings = compile_settings(inventory.settings, pointer(*SETTINGS), found)
    blocked = blocked_at(inventory, now)
    if known is not None:  # what was stored is taken up whatever the clock says
        check_blocks(blocked, peers, pointer, found)
    found.check()
    return Snapshot.build(
        inventory.revision,
        peers,
        psks,
        settings,
        shunts=shunts,
        blocked=blocked,
        credentials=trust.credentials.values(),
        authorities=trust.authorities.values(),
        users=people.users,
        pools=people.pools,
        radius=people.radius,
        ppks=ppks,
        access_profiles=profiles,
    )


def _compile_psks(
    inventory: Inventory, pointer: Pointers, known: tuple[Inventory, Snapshot] | None, found: Findings
) -> list[Psk]:
    unchanged = _unchanged_psks(inventory, known) if known else {}
    return [
        psk
        for name, document in sorted(inventory.psks.items())
        if (
            psk := unchanged.get(name)
            or compile_psk(document, inventory.secrets.get(("psks", name)), pointer("psks", name), found)
        )
    ]


def _unchanged_peers(inventory: Inventory, trust: Trust, known: tuple[Inventory, Snapshot]) -> dict[str, Peer]:
    old, snapshot = known
    if old.proposals != inventory.proposals or not _is_referred_alike(trust, snapshot):
        return {}
    return {
        name: peer
        for name, peer in snapshot.peers.items()
        if name in inventory.peers
        and old.peers.get(name) is inventory.peers[name]
        and old.secrets.get(("peers", name)) == inventory.secrets.get(("peers", name))
    }


def _unchanged_psks(inventory: Inventory, known: tuple[Inventory, Snapshot]) -> dict[str, Psk]:
    old, snapshot = known
    touched = set(inventory.touched(old, "psks"))
    return {psk.name: psk for psk in snapshot.psks if psk.name not in touched}


def _is_referred_alike(trust: Trust, snapshot: Snapshot) -> bool:
    """Whether all that proofs may name is there as it was, so that no peer has to be checked anew."""
    chains = {name: bool(one.chain) for name, one in trust.credentials.items()}
    before = {name: bool(one.chain) for name, one in snapshot.credentials.items()}
    return chains == before and trust.authorities.keys() == snapshot.authorities.keys()
