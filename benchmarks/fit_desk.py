"""Fit the demo desk to real traces and print it as TOML: `fit_desk.py TOKENS.csv.gz RATES.csv.gz`.

TOKENS has columns service, prompt_tokens, completion_tokens (one row a request); RATES has offset_s, service,
req_per_s. Only aggregates leave this script.
"""

import argparse
import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

PERCENTS = (*range(0, 100, 5), 99, 100)
"""One knot near the top, lest the few longest prompts weigh on the whole last twentieth."""
HEADER = """\
# The demo's customer-support desk: parameters only, no row of any trace. Made by benchmarks/fit_desk.py.
#
# Tokens: Azure LLM inference trace 2023, conversation service ({requests} requests), Microsoft, CC BY 4.0
#   (Patel et al., Splitwise, ISCA 2024): short answers on long context, as a desk with articles has.
# Hours: ServeGen workload characterization 2025, service {service}, mean request rate by hour of its days
#   (Alibaba; our copy states no licence, only these 24 means are kept). Quiet before dawn, busy at night.
"""


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)


def quantiles(values: list[int]) -> list[int]:
    """The values at each of PERCENTS (linear between ranks)."""
    ordered = sorted(values)
    found = []
    for percent in PERCENTS:
        low, rest = divmod((len(ordered) - 1) * percent, 100)
        high = min(low + 1, len(ordered) - 1)
        found.append(ordered[low] + (ordered[high] - ordered[low]) * rest // 100)
    return found


def hourly_weights(path: Path, service: str) -> list[int]:
    """Each hour's share of the day's requests, in parts per thousand."""
    totals, counts = [0.0] * 24, [0] * 24
    for row in rows(path):
        if row["service"] == service:
            hour = int(float(row["offset_s"]) // 3600) % 24
            totals[hour] += float(row["req_per_s"])
            counts[hour] += 1
    means = [total / max(count, 1) for total, count in zip(totals, counts, strict=True)]
    return [round(1000 * mean / sum(means)) for mean in means]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("rates", type=Path)
    parser.add_argument("--tokens-service", default="conv")
    parser.add_argument("--rates-service", default="m-small")
    options = parser.parse_args()
    found = [row for row in rows(options.tokens) if row["service"] == options.tokens_service]
    print(HEADER.format(requests=len(found), service=options.rates_service))
    print(f"hourly_weights = {hourly_weights(options.rates, options.rates_service)}")
    print(f"percents = {list(PERCENTS)}")
    print(f"input_tokens = {quantiles([int(row['prompt_tokens']) for row in found])}")
    print(f"output_tokens = {quantiles([int(row['completion_tokens']) for row in found])}")


if __name__ == "__main__":
    main()
