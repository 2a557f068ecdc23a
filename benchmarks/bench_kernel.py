"""What a decision costs, as a multiple of sorting as many scores, and what its record weighs."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter_ns

import numpy as np

from benchmarks.random_book import NOW, mixed_tasks, random_book, random_row_change, typical_task
from lowtide.market.auction import decide
from lowtide.market.book import Book
from lowtide.market.record import AuctionIds, auction_key, record_line
from lowtide.market.spot import Inputs
from lowtide.values.ids import new_id

MOST_TIMES_A_SORT = {1_000: 4.0, 10_000: 1.2}
MOST_RECORD_BYTES = 1_536
REPETITIONS = 1_000
_KEY = auction_key(bytes(32), "auc_bench")


def run() -> list[str]:
    """Measure and print; a line for each target that was missed."""
    missed: list[str] = []
    for offers in (100, 1_000, 10_000):
        book = random_book(offers)
        missed += _decision(book)
    for offers in (10, 1_000, 10_000):
        missed += _record(random_book(offers))
    _first_of_its_kind(random_book(10_000))
    _next_version(random_book(10_000))
    return missed


def _decision(book: Book) -> list[str]:
    """Both sides alternate in one loop, so that whatever else the machine does meets both alike."""
    tasks, inputs, offers = mixed_tasks(64), Inputs(), len(book)
    scores = np.random.default_rng(7).integers(0, 10**9, offers)
    deciding, sorting = [], []
    for number in range(REPETITIONS + 100):
        task = tasks[number % len(tasks)]
        deciding.append(_timed(lambda task=task: decide(task, book, inputs, NOW, _KEY)))
        sorting.append(_timed(lambda: np.argsort(scores)))
    decision, sort = (statistics.median(times[100:]) / 1_000 for times in (deciding, sorting))
    ratio, most = decision / sort, MOST_TIMES_A_SORT.get(offers)
    target = "" if most is None else f", at most {most}"
    print(
        f"decision over {offers:>6} offers: {decision:7.1f} µs = {ratio:5.2f} × argsort ({sort:.1f} µs){target}"
    )
    if most is None or ratio <= most:
        return []
    return [f"a decision over {offers} offers took {ratio:.2f} times a sort; at most {most} is the target"]


def _record(book: Book) -> list[str]:
    task, inputs = typical_task(new_id("task", NOW)), Inputs()
    decision = decide(task, book, inputs, NOW, _KEY)
    ids = AuctionIds(new_id("auc", NOW), task.id, NOW)
    size = len(record_line(ids, task, book, inputs, decision))
    print(f"record over {len(book):>6} offers: {size} bytes, at most {MOST_RECORD_BYTES}")
    if size <= MOST_RECORD_BYTES:
        return []
    return [
        f"a record over {len(book)} offers weighs {size} bytes; at most {MOST_RECORD_BYTES} is the target"
    ]


def _first_of_its_kind(book: Book) -> None:
    """For information: what is kept by kind of task (needs, lists, floor, usual output, limits) must be found first."""
    inputs, times = Inputs(), []
    for number in range(200):
        task = replace(typical_task(), usual_output=100 + number, max_output=1_000 + number)
        task = replace(task, constraints=replace(task.constraints, min_quality_ppm=700_000 + number))
        times.append(_timed(lambda task=task: decide(task, book, inputs, NOW, _KEY)))
    print(
        f"first decision of a kind of task over {len(book)} offers: {statistics.median(times) / 1_000:.1f} µs"
    )


def _next_version(book: Book) -> None:
    """For information: one offer's new price, up to the next decision."""
    task, inputs, times = typical_task(), Inputs(), []
    decide(task, book, inputs, NOW, _KEY)
    for version in range(2, 52):
        changes = random_row_change(book, version)
        started = perf_counter_ns()
        book = book.with_rows(version, changes)
        sealed = perf_counter_ns()
        decide(task, book, inputs, NOW, _KEY)
        times.append((sealed - started, perf_counter_ns() - sealed))
    sealing, deciding = (statistics.median(column) / 1e6 for column in zip(*times, strict=True))
    print(
        f"next version of {len(book)} offers, one changed: {sealing:.2f} ms, its first decision {deciding:.2f} ms"
    )


def _timed(call: Callable[[], object]) -> int:
    started = perf_counter_ns()
    call()
    return perf_counter_ns() - started
