"""Access profiles, from documents to policy; and what users say of them."""

from gateway.policy.access import AccessProfile
from gateway.policy.selectors import OPAQUE_PORT, Selector
from gateway.storage.access_profiles import AccessProfileObject
from gateway.storage.compiling.proposals import Suites, referred
from gateway.storage.findings import Findings, Pointers, domain
from gateway.storage.findings import address as read_address
from gateway.storage.objects import Inventory


def compile_profiles(
    inventory: Inventory, suites: Suites, pointer: Pointers, found: Findings
) -> tuple[AccessProfile, ...]:
    """No two for one group."""
    owner: dict[str, str] = {}
    profiles = []
    for name, document in sorted(inventory.access_profiles.items()):
        at = pointer("access_profiles", name)
        for index, group in enumerate(document.groups):
            if (other := owner.setdefault(group, name)) != name:
                found.add(f"{at}/groups/{index}", "duplicate", f"the group {group!r} has the profile {other!r} already")
        for index, pool in enumerate(document.pools):
            if pool not in inventory.pools:
                found.add(f"{at}/pools/{index}", "unknown-reference", f"there is no pool {pool!r}")
        profiles.append(_profile(document, suites, at, found))
    for name, user in inventory.users.items():
        if user.access_profile and user.access_profile not in inventory.access_profiles:
            where = f"{pointer('users', name)}/access_profile"
            found.add(where, "unknown-reference", f"there is no access profile {user.access_profile!r}")
    return tuple(profiles)


def _profile(document: AccessProfileObject, suites: Suites, at: str, found: Findings) -> AccessProfile:
    if document.tunnel == "split" and not document.networks:
        detail = "write the networks that a split tunnel carries, or choose a full tunnel"
        found.add(f"{at}/networks", "no-networks", detail)
    if document.domains and not document.dns:
        found.add(f"{at}/domains", "no-dns", "domains are those that the profile's DNS servers resolve: name one")
    return AccessProfile(
        document.name,
        found.parse_all(f"{at}/networks", "invalid-network", _network, document.networks),
        document.tunnel == "full",
        document.groups,
        document.pools,
        found.parse_all(f"{at}/dns", "invalid-address", read_address, document.dns),
        found.parse_all(f"{at}/domains", "invalid-domain", domain, document.domains),
        referred(document.esp_proposals, "esp", suites, f"{at}/esp_proposals", found),
        referred(document.ike_proposals, "ike", suites, f"{at}/ike_proposals", found),
        document.masquerade,
        document.sessions,
        document.description,
    )


def _network(text: str) -> Selector:
    """Raises ValueError for what a packet filter cannot tell."""
    selector = Selector.parse(text)
    if (selector.start_port, selector.end_port) == OPAQUE_PORT:
        raise ValueError(f"{text!r}: packets whose ports cannot be seen are not told apart here; write ports, or none")
    return selector
