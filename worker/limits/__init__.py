"""Limits of requests per second and of requests at once, counted for all workers together."""
