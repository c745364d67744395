"""Plain trees against signatures: what is coerced, what is refused, and in which words."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le

from seq2seq.binding import bind, options_of, to_plain
from seq2seq.errors import ConfigError
from seq2seq.registry import Factory, Family, NonNegativeInt, PositiveFloat, PositiveInt, Probability


class Engine:
    """The interface of a family that only this file knows."""


engines: Family[Engine] = Family("engine", Engine)
del Family.all[Engine]


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Family.all, Engine, engines)


@engines.register("steam")
class Steam(Engine):
    def __init__(self, place: str, *, pressure: PositiveFloat = 5.0, coal: Literal["black", "brown"] = "black") -> None:
        if coal == "brown" and pressure > 9:
            raise ValueError("brown coal gives a pressure of at most 9")
        self.made_of = (place, pressure, coal)


@engines.register("diesel")
class Diesel(Engine):
    def __init__(self, place: str, *, litres: PositiveInt, turbo: bool = False) -> None: ...


@engines.register("double")
class Double(Engine):
    def __init__(self, *, front: Factory[Engine], back: Factory[Engine] | None = None) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Wagon:
    seats: PositiveInt = 60
    heated: bool = True

    def __post_init__(self) -> None:
        if self.seats > 99 and self.heated:
            raise ValueError("more than 99 seats cannot be heated")


@dataclass(frozen=True, kw_only=True)
class Railway:
    engine: Factory[Engine]
    tender: Factory[Engine] | None = None
    wagon: Wagon
    spare: Wagon = Wagon(seats=7)
    speed: float = 1.0
    gauge: tuple[Probability, Probability] = (0.1, 0.2)
    stops: str | list[str] | None = None
    number: NonNegativeInt | None = None
    crew: Annotated[int, Ge(1), Le(3)] = 2
    colour: Literal["red", "green"] = "red"
    track: PositiveInt | Literal["any"] = 4
    labels: list[str] = field(default_factory=list)
    facts: dict[str, Any] | None = None
    json: str = "pydantic's models have a method of this name"


def railway(**given: Any) -> Railway:
    return bind(Railway, {"engine": "steam", "wagon": {}, **given})


def refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        bind(Railway, tree)
    return str(caught.value)


def refused(**given: Any) -> str:
    return refusal({"engine": "steam", "wagon": {}, **given})


def test_defaults_are_filled_in() -> None:
    bound = railway()
    assert bound.engine == Factory(Steam, "steam", {"pressure": 5.0, "coal": "black"}, "engine")
    assert (bound.tender, bound.wagon, bound.spare) == (None, Wagon(seats=60, heated=True), Wagon(seats=7))
    assert (bound.speed, bound.gauge, bound.stops, bound.number) == (1.0, (0.1, 0.2), None, None)
    assert (bound.crew, bound.colour, bound.labels, bound.facts) == (2, "red", [], None)


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("speed", "1e-3", 0.001),  # YAML 1.1 reads 1e-3 as text
        ("speed", 3, 3.0),
        ("speed", "3", 3.0),
        ("number", 1e3, 1000),
        ("number", "12", 12),
        ("number", None, None),
        ("crew", 3, 3),
        ("gauge", [0, "0.5"], (0.0, 0.5)),
        ("stops", "Ulm", "Ulm"),
        ("stops", ["Ulm", "Hof"], ["Ulm", "Hof"]),
        ("stops", 12, "12"),  # a name made of digits
        ("stops", None, None),
        ("labels", ["a", 1], ["a", "1"]),
        ("facts", {"a": {"b": 1}, "c": True}, {"a": {"b": 1}, "c": True}),
        ("colour", "green", "green"),
        ("track", 3, 3),
        ("track", "3", 3),
        ("track", "any", "any"),
        ("json", "x", "x"),
    ],
)
def test_coercion(name: str, given: object, wanted: object) -> None:
    value = getattr(railway(**{name: given}), name)
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(("given", "wanted"), [("true", True), ("no", False), (0, False), (True, True)])
def test_bool(given: object, wanted: bool) -> None:
    assert railway(wagon={"heated": given}).wagon.heated is wanted


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("speed", "fast", "speed: should be a number, but is 'fast'"),
        ("speed", None, "speed: should be a number, but is empty (null)"),
        ("speed", True, "speed: should be a number, but is true"),
        ("speed", float("nan"), "speed: should be a finite number, but is nan"),
        ("speed", [1], "speed: should be a number, but is [1]"),
        ("number", 1.5, "number: should be a whole number, but is 1.5"),
        ("number", -1, "number: should be at least 0, but is -1"),
        ("number", False, "number: should be a whole number, but is false"),
        ("number", "many", "number: should be a whole number, but is 'many'"),
        ("crew", 0, "crew: should be at least 1, but is 0"),
        ("crew", 4, "crew: should be at most 3, but is 4"),
        ("gauge", [0.5], "gauge: should be a list of 2 values, but is [0.5]"),
        ("gauge", [0.5, 0.5, 0.5], "gauge: should be a list of 2 values, but is [0.5, 0.5, 0.5]"),
        ("gauge", 0.5, "gauge: should be a list, but is 0.5"),
        ("gauge", [0.5, 1], "gauge[1]: should be less than 1, but is 1"),
        ("gauge", ["a", 0.5], "gauge[0]: should be a number, but is 'a'"),
        ("stops", {"a": 1}, "stops: should be text or a list, but is {'a': 1}"),
        ("labels", "a", "labels: should be a list, but is 'a'"),
        ("labels", ["a", None], "labels[1]: should be text, but is empty (null)"),
        ("colour", "gren", "colour: should be one of red, green, but is 'gren'; did you mean 'green'?"),
        ("colour", 5, "colour: should be one of red, green, but is 5"),
        ("track", "an", "track: should be a whole number or any, but is 'an'; did you mean 'any'?"),
        ("track", 0, "track: should be greater than 0 or any, but is 0"),
        ("track", True, "track: should be a whole number or any, but is true"),
        ("facts", [1], "facts: should be a mapping, but is [1]"),
        (
            "json",
            False,
            "json: should be text, but is false; YAML reads yes, no, on and off so where they have no quotes",
        ),
    ],
)
def test_refused_values(name: str, given: object, message: str) -> None:
    assert refused(**{name: given}) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wagon": 5}, "wagon: should be a group of keys, but is 5"),
        ({"wagon": None}, "wagon: should be a group of keys, but is None"),
        ({"wagon": {"seats": 0}}, "wagon.seats: should be greater than 0, but is 0"),
        ({"wagon": {"seats": 100}}, "wagon: more than 99 seats cannot be heated"),
        ({"engine": "steem"}, "engine.name: no component is called 'steem'; did you mean 'steam'?"),
        ({"engine": {"name": "x"}}, "engine.name: no component is called 'x'; there are: diesel, double, steam"),
        (
            {"engine": {"pressure": 3}},
            "engine: should be a group of keys with the component's `name`; there are: diesel, double, steam",
        ),
        (
            {"engine": None},
            "engine: should be a group of keys with the component's `name`; there are: diesel, double, steam",
        ),
        ({"engine": "diesel"}, "engine.litres: is missing; it has to be given"),
        ({"engine": {"name": "diesel", "litres": "???"}}, "engine.litres: is missing; it has to be given"),
        ({"engine": "double"}, "engine.front: is missing; it has to be given"),
        ({"engine": "???"}, "engine: is missing; it has to be given"),
        (
            {"engine": {"name": "double", "front": {"name": "double", "front": {"name": "steam", "pressure": 0}}}},
            "engine.front.front.pressure: should be greater than 0, but is 0",
        ),
        ({"wagon": {"seat": 3}}, "wagon.seat: unknown key; did you mean 'seats'?"),
        ({"coulour": "red"}, "coulour: unknown key; did you mean 'colour'?"),
        ({"spare": {}, "seats": 3}, "seats: unknown key; did you mean 'wagon.seats' or 'spare.seats'?"),
        ({"wagons": {}}, "wagons: unknown key; did you mean 'wagon'?"),
        ({"pressure": 3}, "pressure: unknown key; did you mean 'engine.pressure'?"),
        ({"engine": {"name": "steam", "xyz": 3}}, "engine.xyz: unknown key; there are: coal, pressure"),
    ],
)
def test_refused_trees(given: dict[str, Any], message: str) -> None:
    assert refused(**given) == message


def test_what_is_missing() -> None:
    assert refusal({}) == "engine: is missing; it has to be given\nwagon: is missing; it has to be given"


def test_every_mistake_at_once() -> None:
    tree = {
        "engine": {"name": "double", "front": {"name": "steam", "pressure": -1, "coal": "blak"}, "back": "elektric"},
        "tender": {"name": "diesel", "litre": 3},
        "wagon": {"seats": "many", "heated": "perhaps"},
        "number": -7,
        "colours": "red",
    }
    with pytest.raises(ConfigError) as caught:
        bind(Railway, tree)
    assert [str(problem) for problem in caught.value.problems] == [
        "colours: unknown key; did you mean 'colour'?",
        "engine.back.name: no component is called 'elektric'; there are: diesel, double, steam",
        "engine.front.coal: should be one of black, brown, but is 'blak'; did you mean 'black'?",
        "engine.front.pressure: should be greater than 0, but is -1",
        "number: should be at least 0, but is -7",
        "tender.litre: unknown key; did you mean 'litres'?",
        "tender.litres: is missing; it has to be given",
        "wagon.heated: should be true or false, but is 'perhaps'",
        "wagon.seats: should be a whole number, but is 'many'",
    ]
    assert caught.value.exit_status == 2


def test_nested_components() -> None:
    bound = railway(engine={"name": "double", "front": {"name": "diesel", "litres": 3}, "back": None})
    front = Factory(Diesel, "diesel", {"litres": 3, "turbo": False}, "engine.front")
    assert bound.engine == Factory(Double, "double", {"front": front, "back": None}, "engine")


def test_a_factory_makes_its_component() -> None:
    engine = railway(engine={"name": "steam", "pressure": 7, "coal": "brown"}).engine("Ulm")
    assert isinstance(engine, Steam)
    assert engine.made_of == ("Ulm", 7.0, "brown")


def test_a_constructor_that_refuses_is_told_with_its_path() -> None:
    factory = railway(tender={"name": "steam", "pressure": 10, "coal": "brown"}).tender
    assert factory is not None
    with pytest.raises(ConfigError) as caught:
        factory("Ulm")
    assert str(caught.value) == "tender: brown coal gives a pressure of at most 9"


def test_round_trip() -> None:
    bound = railway(
        engine={"name": "double", "front": {"name": "diesel", "litres": "3"}, "back": "steam"},
        wagon={"seats": 8.0},
        gauge=[0, "0.25"],
        stops=["Ulm", "Hof"],
        labels=["x"],
        facts={"a": [1, {"b": None}]},
    )
    plain = to_plain(bound)
    assert plain == {
        "engine": {
            "name": "double",
            "front": {"name": "diesel", "litres": 3, "turbo": False},
            "back": {"name": "steam", "pressure": 5.0, "coal": "black"},
        },
        "tender": None,
        "wagon": {"seats": 8, "heated": True},
        "spare": {"seats": 7, "heated": True},
        "speed": 1.0,
        "gauge": [0.0, 0.25],
        "stops": ["Ulm", "Hof"],
        "number": None,
        "crew": 2,
        "colour": "red",
        "track": 4,
        "labels": ["x"],
        "facts": {"a": [1, {"b": None}]},
        "json": "pydantic's models have a method of this name",
    }
    assert bind(Railway, plain) == bound


def test_options_are_what_stands_after_the_star() -> None:
    assert list(options_of(Steam)) == ["pressure", "coal"]
    assert list(options_of(Wagon)) == ["seats", "heated"]
