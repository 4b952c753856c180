"""ESP that comes before its state, in the userspace data plane."""

from gateway.dataplane.esp import OutboundEsp
from gateway.dataplane.userspace_sas import Drops
from gateway.ike.plane import StateKey
from tests.dataplane.userspace_paths import Ends, strike, udp4


def test_what_comes_before_its_state_is_kept_for_a_moment(plain: Ends) -> None:
    plain.add_outbound()
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.into.early.expect(0x1001)
    for number in range(300):
        plain.tun.put(udp4(number))
        plain.pump()
    assert plain.drops.unknown_spi == 300 - 256
    plain.add_inbound()
    plain.into.open_early()
    assert plain.tun.taken == [udp4(number) for number in range(256)]


def test_what_came_too_early_for_its_state_is_lost(plain: Ends) -> None:
    esp = OutboundEsp(plain.state(inbound=False))
    plain.allow("10.1.0.0/24", "10.2.0.0/24")
    plain.into.early.expect(0x1001)
    plain.into.early.expect(0x1002)
    strike(plain, esp.seal(udp4(1), 4))
    plain.now[0] += 1.5
    strike(plain, esp.seal(udp4(2), 4))
    strike(plain, b"\0\0\x10\2" + bytes(60))
    plain.into.remove(StateKey("127.0.0.1", 0x1002))
    plain.add_inbound()
    plain.into.open_early()
    assert plain.tun.taken == [udp4(2)]
    assert plain.drops == Drops()
    assert not plain.heard
