"""Ends that speak MOBIKE, and where what they laid leads."""

from gateway.ike.effects import Send
from gateway.ike.path import Path
from gateway.ike.plane import Direction, Encapsulation
from gateway.ike.sa import Lifecycle
from gateway.wire import payloads as wire
from gateway.wire.message import Message, parse, parse_header
from gateway.wire.numbers import ExchangeType
from tests.simulation.agreement import assert_agree, established
from tests.simulation.network import Host, Network, peer, right_end, two


def ends(**more: object) -> tuple[Network, Host, Host]:
    """The left end calls, and both speak MOBIKE."""
    network = Network(2)
    left = peer("right", me="left.example", them="right.example", remote="192.0.2.2")
    right = right_end(remote=None, **more)
    a, b = two(network, left=left, right=right)
    network.run(1)
    assert_agree(a, b)
    return network, a, b


def outer(host: Host) -> set[tuple[str, str, Encapsulation | None]]:
    """Where the states, the policies and the routes of the only child lead: (here, there, outward ports)."""
    (sa,) = established(host)
    (child,) = sa.children.values()
    outward = next(state for state in host.plane.states() if state.key == child.outbound.key)
    inward = next(state for state in host.plane.states() if state.key == child.inbound.key)
    found = {(outward.source, outward.destination, outward.encapsulation)}
    back = inward.encapsulation
    turned = Encapsulation(back.destination_port, back.source_port) if back else None
    found.add((inward.destination, inward.source, turned))
    for policy in host.plane.policies():
        tunnel = policy.tunnel_source, policy.tunnel_destination
        found.add((*(tunnel if policy.direction is Direction.OUT else tunnel[::-1]), outward.encapsulation))
    found |= {(outward.source, route.remote, outward.encapsulation) for route in host.plane.routes()}
    return found


def sealed(host: Host, network: Network, payloads: list[wire.Payload], path: Path) -> list[Message]:
    """What the other end answers to an INFORMATIONAL of this host's SA that comes on `path`."""
    (sa,) = established(host)
    (other,) = [one for one in network.hosts.values() if one is not host]
    (theirs,) = established(other)
    assert sa.protection is not None
    message = Message(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, sa.initiator, False, sa.requests.next_id, [])
    sa.requests.next_id += 1
    effects = other.engine.receive(sa.protection.seal(message, payloads), path, network.now)
    answers = []
    for effect in effects:
        if isinstance(effect, Send) and parse_header(effect.data).response:
            assert effect.path == path
            answer = parse(effect.data)
            sa.protection.open(effect.data, answer)
            answers.append(answer)
    assert theirs.state == Lifecycle.ESTABLISHED
    return answers
