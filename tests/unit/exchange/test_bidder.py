"""How long a failing bidder is left out, and what it is told of its time."""

from lowtide.exchange.bidder import FAILURES, MOST_PAUSE_S, PAUSE_S, Bidder, Form
from lowtide.market.offer import Offer

BIDDER = Bidder("feed_1", "acme", "whsec_AAAA", "http://b/", 80, ("gpt-*", "off_7"), None, frozenset())


def failing(form: Form, times: int, now: float) -> None:
    for _ in range(times):
        form.note("bid_timeout", now=now, at=0)


def test_a_bidder_is_left_out_after_so_many_failures_in_a_row():
    form = Form()
    failing(form, FAILURES - 1, now=100)
    assert form.left_out_until == 0
    form.note(None, now=100, at=0)
    failing(form, FAILURES - 1, now=100)
    assert form.left_out_until == 0
    failing(form, 1, now=100)
    assert form.left_out_until == 100 + PAUSE_S


def test_each_further_failure_leaves_it_out_twice_as_long_up_to_a_limit():
    form, now, pauses = Form(), 0.0, []
    failing(form, FAILURES, now)
    for _ in range(7):
        pauses.append(form.left_out_until - now)
        now = form.left_out_until
        failing(form, 1, now)
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    assert pauses[-1] == MOST_PAUSE_S


def test_many_calls_that_fail_together_leave_it_out_once():
    form = Form()
    failing(form, 100, now=50)
    assert (form.left_out_until, form.pause_s) == (50 + PAUSE_S, 2 * PAUSE_S)


def test_an_answer_ends_the_pause():
    form = Form()
    failing(form, 100, now=50)
    form.note(None, now=51, at=7)
    assert (form.left_out_until, form.failures, form.pause_s, form.answered_at) == (0, 0, PAUSE_S, 7)


def test_the_time_told_is_less_what_messages_take_under_way():
    form = Form()
    assert form.told_ms(BIDDER) == 72
    form.note_network(5.2)
    assert form.told_ms(BIDDER) == 74
    for _ in range(50):
        form.note_network(1_000)
    assert form.told_ms(BIDDER) == 40


def test_a_bidder_bids_for_offers_named_by_model_or_id():
    named = [
        Offer("off_1", "acme", "gpt-5", "x"),
        Offer("off_2", "acme", "y", "gpt-5"),
        Offer("off_7", "acme", "y", "z"),
    ]
    assert all(BIDDER.bids_for(offer) for offer in named)
    assert not BIDDER.bids_for(Offer("off_3", "acme", "Gpt-5", "claude"))
