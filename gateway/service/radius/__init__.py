"""RADIUS: who may come in by EAP is asked elsewhere (RFC 3579), and told what came of it (RFC 2866, RFC 5176)."""
