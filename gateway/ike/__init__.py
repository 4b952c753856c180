"""The IKEv2 protocol without input or output: bytes, time and chance come in, effects go out."""
