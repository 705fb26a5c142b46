"""The client's side of a worker: who is connected, and the protocols that are spoken with them."""
