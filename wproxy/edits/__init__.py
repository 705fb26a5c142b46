"""Edits: changes to the servers of upstreams through the API, while workers run."""
