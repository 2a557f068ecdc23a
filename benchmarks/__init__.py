"""Measurements of what the market promises; `python -m benchmarks` runs them all."""

import os

# As `lowtide serve` and `lowtide backtest` do, before NumPy is imported: on small matrices threads only cost time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
