"""TLS with clients and with upstreams: the encrypted stream, the words of a ClientHello, and the choice of a context."""
