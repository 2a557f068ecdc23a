"""The demo's support desk: a believable day, the same for the same seed."""

import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import pytest

from lowtide.simulate.desk import load_desk, plan_day
from lowtide.simulate.models import load_simulated_models
from lowtide.values.errors import SetupError
from lowtide.values.instants import DAY_US, HOUR_US, micros

DEMO = Path(__file__).parents[3] / "config" / "demo"
DESK = load_desk(DEMO / "desk.toml")
START = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)
DAY = plan_day(DESK, seed=7, count=4_000, start=START)


def test_the_same_seed_plans_the_same_day_and_another_seed_another():
    assert plan_day(DESK, 7, 200, START) == plan_day(DESK, 7, 200, START)
    assert plan_day(DESK, 7, 200, START) != plan_day(DESK, 8, 200, START)


def test_the_classes_have_their_shares_and_half_of_the_tickets_may_wait():
    assert Counter(ticket.ticket_class for ticket in DAY) == {
        "simple": 1_600,
        "moderate": 1_400,
        "complex": 800,
        "edge": 200,
    }
    assert sum(ticket.may_wait for ticket in DAY) == 2_000


@pytest.mark.parametrize("count", [0, 1, 3, 7, 33])
def test_an_odd_count_is_planned_to_the_ticket(count):
    assert [ticket.number for ticket in plan_day(DESK, 1, count, START)] == list(range(1, count + 1))


def test_tickets_arrive_in_order_within_the_day_and_by_the_hours_weights():
    arrivals = [ticket.arrival_us - micros(START) for ticket in DAY]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= 0
    assert arrivals[-1] < DAY_US
    by_hour = Counter((at + 8 * HOUR_US + HOUR_US // 2) // HOUR_US % 24 for at in arrivals)
    for hour, weight in enumerate(DESK.hourly_weights):
        expected = 4_000 * weight / sum(DESK.hourly_weights)
        assert abs(by_hour[hour] - expected) < 5 * expected**0.5


@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
def test_tokens_have_the_fitted_quantiles(field):
    drawn = quantiles((getattr(ticket, field) for ticket in DAY), n=20)
    fitted = [
        at
        for percent, at in zip(DESK.percents, getattr(DESK, field), strict=True)
        if percent in range(10, 91, 5)
    ]
    for percent, value, low, high in zip(
        range(10, 91, 5), drawn[1:18], fitted[:-2], fitted[2:], strict=False
    ):
        assert low * 0.93 <= value <= high * 1.07, percent


def test_a_prompts_bytes_are_four_a_token_and_its_limits_hold():
    for ticket in DAY:
        assert 0 <= ticket.input_tokens * 4 - len(ticket.prompt.encode()) < 4
        assert 1 <= ticket.output_tokens <= ticket.max_output_tokens
        assert ticket.domain == "support"


def test_prompts_are_varied_and_long_ones_carry_context():
    assert len({ticket.prompt for ticket in DAY}) > 3_900
    longest = max(DAY, key=lambda ticket: ticket.input_tokens).prompt
    assert "Article. " in longest
    assert "Agent: " in longest
    assert longest.rsplit("\n\n", 1)[1].startswith("Customer: ")
    assert not any("{" in ticket.prompt for ticket in DAY)


def test_each_class_can_be_served_by_two_models_or_more_and_the_dearest_is_not_needed_for_most():
    models = load_simulated_models(DEMO / "models.toml")
    assert len(models) == 12
    able = {
        kind.name: sum(model.claims[0].quality_ppm >= kind.min_quality_ppm for model in models)
        for kind in DESK.classes
    }
    by_class = {
        kind.name: sum(model.acceptance_ppm[kind.name] >= kind.min_quality_ppm for model in models)
        for kind in DESK.classes
    }
    assert min(able.values()) >= 2
    assert min(by_class.values()) >= 2
    assert able["simple"] == 12


def test_three_models_have_a_night_tariff_in_a_named_zone():
    tariffs = [model.tariff for model in load_simulated_models(DEMO / "models.toml") if model.tariff]
    assert len(tariffs) == 3
    assert {tariff.zone for tariff in tariffs} == {"Europe/Paris"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hourly_weights = [", "hourly_weights = [1, ", "24 numbers"),
        ('share = "0.40"', 'share = "0.41"', "add up to 1"),
        ("percents = [0, ", "percents = [1, ", "begin with 0"),
        ("percents = [0, ", "percents = [", "as many numbers"),
        ('name = "edge"', 'name = "odd"', r"desk\.toml, classes 4: name must be one of simple"),
        ('max_cost_usd = "0.25"', 'max_cost_usd = "much"', "classes 4: 'much' is not a decimal"),
    ],
)
def test_a_wrong_desk_file_is_refused_with_its_field(old, new, words, tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text((DEMO / "desk.toml").read_text().replace(old, new))
    shutil.copy(DEMO / "tickets.toml", tmp_path)
    with pytest.raises(SetupError, match=words):
        load_desk(path)


def test_a_wrong_tariff_of_a_simulated_model_is_refused_with_its_place(tmp_path):
    path = tmp_path / "models.toml"
    path.write_text((DEMO / "models.toml").read_text().replace("Europe/Paris", "Europe/Atlantis"))
    with pytest.raises(SetupError, match=r"models\.toml, models 6, tariff: 'Europe/Atlantis' is no IANA"):
        load_simulated_models(path)
