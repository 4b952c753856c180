"""Our gateway as `appliance_main` runs it, with RFC 9867's notifies under the private numbers of its draft.

libreswan 5.2 and 5.3 speak draft-ietf-ipsecme-ikev2-qr-alt-04, from before IANA gave numbers to them.
"""

import runpy

from gateway.wire.numbers import NotifyType

type.__setattr__(NotifyType, "USE_PPK_INT", 50209)
type.__setattr__(NotifyType, "PPK_IDENTITY_KEY", 50208)

if __name__ == "__main__":
    runpy.run_module("tests.lab.appliance_main", run_name="__main__")
