"""Edits: what is changed of the servers of upstreams while workers run, through the API."""
