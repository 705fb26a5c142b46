"""TLS with upstreams: contexts and sessions, the handshake, and the name in a certificate (protocols.md §1.2)."""
