"""The words of the cache of responses: its zones, keys and files, and the memory that all workers share of it."""
