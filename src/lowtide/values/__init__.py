"""Floor 1: money, instants, ids, the clock, typed errors, canonical JSON. Imports nothing of ours."""
