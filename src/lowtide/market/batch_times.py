"""How long a provider's batches take, as a decision knows it: a few quantiles, in whole milliseconds."""

from dataclasses import dataclass
from itertools import pairwise

LEVELS_PPM = (100_000, 250_000, 500_000, 750_000, 900_000, 950_000, 990_000)


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """How long a provider's batches take: ms at each of LEVELS_PPM, rising."""

    provider: str
    quantiles_ms: tuple[int, ...]

    def done_ppm(self, within_us: int) -> int:
        """Probability, ppm, that a batch is back within so long; between the levels as the crow flies."""
        points = [(0, 0), *zip((ms * 1_000 for ms in self.quantiles_ms), LEVELS_PPM, strict=True)]
        if within_us >= points[-1][0]:
            return points[-1][1]
        for (before, low), (after, high) in pairwise(points):
            if within_us < after:
                return low + (high - low) * max(0, within_us - before) // max(1, after - before)
        return points[-1][1]

    @property
    def median_us(self) -> int:
        """The usual time, µs."""
        return self.quantiles_ms[LEVELS_PPM.index(500_000)] * 1_000
