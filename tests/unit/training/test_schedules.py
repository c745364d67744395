import math

import pytest

from seq2seq.training.schedules import Constant, Cosine, InverseSqrt, Linear, Schedule, schedules


def test_registered() -> None:
    assert schedules.components == {
        "constant": Constant,
        "inverse_sqrt": InverseSqrt,
        "linear": Linear,
        "cosine": Cosine,
    }


@pytest.mark.parametrize("name", ["constant", "inverse_sqrt", "linear", "cosine"])
def test_warm_up_is_linear_and_ends_at_the_peak(name: str) -> None:
    schedule: Schedule = schedules.components[name](50, warmup=8)  # type: ignore[call-arg]
    assert [schedule.factor(step) for step in range(1, 9)] == pytest.approx([step / 8 for step in range(1, 9)])
    assert max(schedule.factor(step) for step in range(1, 51)) == schedule.factor(8) == 1.0


def test_constant_stays() -> None:
    assert [Constant(None).factor(step) for step in (1, 2, 10**6)] == [1.0, 1.0, 1.0]
    assert Constant(10, warmup=4).factor(999) == 1.0


def test_inverse_sqrt_is_the_formula_of_the_paper() -> None:
    """Vaswani et al.: lr = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5); ours is that over its peak."""
    schedule = InverseSqrt(None, warmup=400)
    for step in (1, 7, 399, 400, 401, 1600, 10**5):
        paper = min(step**-0.5, step * 400**-1.5)
        assert schedule.factor(step) == pytest.approx(paper / 400**-0.5)
    assert schedule.factor(1600) == pytest.approx(0.5)


def test_inverse_sqrt_without_warm_up_begins_at_the_peak() -> None:
    assert [InverseSqrt(None, warmup=0).factor(step) for step in (1, 4, 100)] == pytest.approx([1.0, 0.5, 0.1])


def test_linear_goes_straight_to_its_end() -> None:
    schedule = Linear(110, warmup=10, final=0.2)
    assert [schedule.factor(step) for step in (10, 35, 60, 110)] == pytest.approx([1.0, 0.8, 0.6, 0.2])
    assert Linear(100).factor(75) == pytest.approx(0.25)
    assert Linear(100).factor(100) == 0.0


def test_cosine_goes_along_half_a_wave() -> None:
    schedule = Cosine(110, warmup=10, final=0.2)
    assert schedule.factor(60) == pytest.approx(0.6)
    assert schedule.factor(110) == pytest.approx(0.2)
    assert Cosine(310, warmup=10).factor(110) == pytest.approx(0.75)  # cos(60 degrees) = 1/2
    assert Cosine(120).factor(30) == pytest.approx((1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize("cls", [Linear, Cosine])
def test_after_the_end_the_final_value_stays(cls: type[Linear] | type[Cosine]) -> None:
    schedule = cls(20, warmup=3, final=0.1)
    assert schedule.factor(21) == schedule.factor(500) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_known_end_is_needed(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} needs trainer\.max_steps$"):
        schedules.components[name](None)  # type: ignore[call-arg]
    for warmup in (20, 21):
        with pytest.raises(ValueError, match=rf"^warmup \({warmup}\) must be less than the steps of the run \(20\)$"):
            schedules.components[name](20, warmup=warmup)  # type: ignore[call-arg]


@pytest.mark.parametrize(("cls", "before"), [(Constant, 1.0), (InverseSqrt, 0.5)])
def test_cool_down_is_a_straight_line_to_zero(cls: type[Constant] | type[InverseSqrt], before: float) -> None:
    with_cooldown, without = cls(40, warmup=10, cooldown=0.2), cls(40, warmup=10)
    assert without.factor(40) == pytest.approx(before)
    for step in range(1, 33):
        assert with_cooldown.factor(step) == without.factor(step)
    for step, part in ((34, 6 / 8), (36, 4 / 8), (39, 1 / 8), (40, 0.0), (50, 0.0)):
        assert with_cooldown.factor(step) == pytest.approx(part * without.factor(step))


@pytest.mark.parametrize("cls", [Constant, InverseSqrt])
def test_cool_down_needs_an_end(cls: type[Constant] | type[InverseSqrt]) -> None:
    with pytest.raises(ValueError, match=r"cooldown needs trainer\.max_steps"):
        cls(None, cooldown=0.5)
