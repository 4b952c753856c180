"""Bytes to dataclasses and back: the IKEv2 codec and the IANA numbers."""
