"""Faults with real processes: each is injected into a mesh under load, healed, and judged from what is written down outside of it."""
