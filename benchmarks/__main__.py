"""`python -m benchmarks`: what the market promises of its speed and size, measured; fails where one is missed."""

import argparse
import sys

from benchmarks import (
    bench_clearing,
    bench_deferral,
    bench_feeds,
    bench_holds,
    bench_kernel,
    bench_pools,
    bench_spot,
    bench_store,
)


def main() -> int:
    """Run the benchmarks; the exit code is 1 where a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--auctions", type=int, default=100_000, help="how many to write into the store")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="how long quotes change while auctions go on"
    )
    parser.add_argument("--holds", type=int, default=1_000_000, help="how many tasks to hold at once")
    options = parser.parse_args()
    missed = bench_kernel.run() + bench_store.run(options.auctions) + bench_feeds.run(options.seconds)
    missed += bench_clearing.run() + bench_deferral.run() + bench_pools.run()
    missed += bench_holds.run(options.holds) + bench_spot.run()
    for line in missed:
        print(f"Missed: {line}.", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
