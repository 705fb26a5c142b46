"""The client's side of a worker: the connected clients, and the protocols of their connections."""
