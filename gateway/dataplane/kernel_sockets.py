"""The options by which an IKE socket and IPsec in the kernel get along."""

import socket

from gateway.dataplane.kernel_batch import refusal
from gateway.dataplane.xfrm import UDP_ENCAP_ESPINUDP, XFRM_POLICY_IN, XFRM_POLICY_OUT
from gateway.dataplane.xfrm_structs import XfrmLifetimeCfg, XfrmSelector, XfrmUserpolicyInfo

_UDP_ENCAP = 100  # uapi/linux/udp.h
_IP_XFRM_POLICY, _IPV6_XFRM_POLICY = 17, 35  # uapi/linux/in.h, in6.h


def take_esp(sock: socket.socket) -> None:
    """Let the kernel take ESP in UDP (RFC 3948) out of a UDP socket; IKE stays for its reader. Raises Refused."""
    try:
        sock.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    except OSError as failure:
        raise refusal(f"taking ESP out of UDP at {sock.getsockname()[:2]}", failure) from failure


def bypass(sock: socket.socket) -> None:
    """Exempt an IKE socket from all policies, in and out. Raises Refused.

    Otherwise a CHILD_SA for 0.0.0.0/0 would catch the very messages that keep it alive, and ESP in UDP with them.
    """
    level, option = socket.IPPROTO_IP, _IP_XFRM_POLICY
    if sock.family == socket.AF_INET6:
        level, option = socket.IPPROTO_IPV6, _IPV6_XFRM_POLICY
    selector = XfrmSelector(family=sock.family).pack()
    for direction in (XFRM_POLICY_IN, XFRM_POLICY_OUT):
        policy = XfrmUserpolicyInfo(selector, XfrmLifetimeCfg().pack(), dir=direction)
        try:
            sock.setsockopt(level, option, policy.pack())
        except OSError as failure:
            raise refusal(f"exempting the IKE socket at {sock.getsockname()[:2]} from policies", failure) from failure
