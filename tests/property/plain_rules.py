"""The rulebook in plain Python, one offer at a time: what the kernel's columns are checked against."""

from fractions import Fraction
from math import ceil, floor

from lowtide.market.book import Row, quality_in
from lowtide.market.reputation import lower_bound_ppm
from lowtide.market.task import Task


def costs(task: Task, row: Row) -> tuple[int, int, int]:
    """Expected and worst cost, nano-USD, and ê (MARKET.md section 3)."""
    prices, conditions = row.quotes[0].prices, row.conditions
    i = ceil(Fraction(ceil(Fraction(task.input_bytes, 4)) * conditions.token_ratio_ppm, 10**6))
    m = task.max_output if task.max_output is not None else min(row.offer.max_output_tokens, 4_096)
    if task.usual_output is None:
        usual = min(512, ceil(Fraction(m, 2)))
    else:
        usual = min(m, ceil(Fraction(task.usual_output * conditions.verbosity_ppm, 10**6)))
    price_in, price_out = _at(row, i)[:2]
    expected = prices.per_request + ceil(Fraction(i * price_in + task.n * usual * price_out, 10**6))
    most = ceil(Fraction(5 * i, 4))
    levels = [_at(row, 0), *(_at(row, s.above_tokens + 1) for s in prices.steps if most > s.above_tokens)]
    dearest_in = max(max(level[0], level[2]) for level in levels)
    dearest_out = max(level[1] for level in levels)
    worst = prices.per_request + ceil(Fraction(most * dearest_in + task.n * m * dearest_out, 10**6))
    return expected, worst, usual


def _at(row: Row, tokens: int) -> tuple[int, int, int]:
    prices = row.quotes[0].prices
    found, out, write = prices.input or 0, prices.output or 0, prices.cache_write
    for step in prices.steps:
        if tokens > step.above_tokens:
            found = step.input if step.input is not None else found
            out = step.output if step.output is not None else out
    return found, out, found if write is None else write


def loss_reason(task: Task, row: Row, at: int) -> str | None:
    """The first failing reason up to `over_budget`, in the order of the table (section 4)."""
    limits, offer, conditions = task.constraints, row.offer, row.conditions
    _, worst, usual = costs(task, row)
    i = ceil(Fraction(ceil(Fraction(task.input_bytes, 4)) * conditions.token_ratio_ppm, 10**6))
    m = task.max_output if task.max_output is not None else min(offer.max_output_tokens, 4_096)
    slow = conditions.first_token_p95_ms + ceil(Fraction(usual * conditions.us_per_token, 1_000))
    bound = lower_bound_ppm(*quality_in(conditions, task.domain), limits.z_ppm)
    tests = {
        "withdrawn": offer.withdrawn,
        "no_valid_quote": not row.quotes[0].covers(at),
        "modality_missing": not set(task.needs.modalities) <= set(offer.modalities),
        "feature_missing": not set(task.needs.features) <= set(offer.features),
        "context_too_long": i + m > offer.context_window,
        "output_too_long": task.max_output is not None and task.max_output > offer.max_output_tokens,
        "region_not_allowed": limits.regions is not None and not set(limits.regions) & set(offer.regions),
        "retention_not_allowed": limits.zero_retention and not offer.zero_retention,
        "circuit_open": conditions.circuit == "open",
        "quality_below_floor": limits.min_quality_ppm is not None and bound < limits.min_quality_ppm,
        "too_slow": limits.max_latency_ms is not None and slow > limits.max_latency_ms,
        "over_budget": worst > min(10**12, 10**12 if limits.max_cost_nano is None else limits.max_cost_nano),
    }
    return next((name for name, fails in tests.items() if fails), None)


def score(task: Task, row: Row, reference_cost: int) -> int:
    """The requester's surplus, nano-USD, each term rounded down (section 5)."""
    conditions, objective = row.conditions, task.objective
    expected, _, usual = costs(task, row)
    typical = conditions.first_token_p50_ms + ceil(Fraction(usual * conditions.us_per_token, 1_000))
    mean, _ = quality_in(conditions, task.domain)
    if objective.value_nano is not None:
        gross = floor(Fraction(objective.value_nano * mean, 10**6))
    else:
        gross = task.constraints.max_cost_nano or 0
    waiting = floor(-Fraction(objective.per_second_nano * typical, 1_000))
    risk = floor(-Fraction((10**6 - conditions.health_ppm) * reference_cost, 10**6))
    return gross - expected + waiting + risk
