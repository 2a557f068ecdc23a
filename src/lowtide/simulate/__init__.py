"""Simulators: servers that speak a true wire, with its faults, where a paid provider would stand; and a stepped clock."""
