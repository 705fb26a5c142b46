"""Ports for servers: no two that are given in a row are the same."""

from __future__ import annotations

from bench.ports import free_port


def test_no_port_is_given_twice_before_it_can_be_bound():
    ports = [free_port() for _ in range(800)]
    assert len(set(ports)) == 800
