"""Checks a tree of plain values against the signatures of the components that it names.

Every mistake of the tree is collected before any is told; a bound tree holds a `Factory` for each component.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from seq2seq.errors import ConfigError, Problem, listed, suggest
from seq2seq.registry import Factory, Family

T = TypeVar("T")

REQUIRED = inspect.Parameter.empty
WITH_NAME = "a key `name` in it tells what it is"
MISSING = "???"  # how OmegaConf writes a value that has to be given


@dataclass(frozen=True)
class Option:
    """A keyword-only parameter: what YAML can set."""

    annotation: Any
    default: Any


@cache
def options_of(function: Callable[..., Any]) -> Mapping[str, Option]:
    """The options of a component class or of a dataclass, in the order of its signature."""
    hints = get_type_hints(function if is_dataclass(function) else function.__init__, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: Option(hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def family_of(annotation: Any) -> Family[Any] | None:
    """The family X where the annotation is Factory[X] or Factory[X] | None."""
    for part in (annotation, *get_args(annotation)):
        if get_origin(part) is Factory:
            return Family.all[get_args(part)[0]]
    return None


def bind(dataclass: type[T], tree: Mapping[str, Any]) -> T:
    """An instance of the dataclass, filled from the tree. Raises ConfigError with every mistake in it."""
    binder = _Binder()
    bound = binder.group(dataclass, tree, "")
    binder.finish()
    assert isinstance(bound, dataclass)
    return bound


def to_plain(bound: Any) -> Any:
    """The tree again, every default filled in; names, numbers, text, lists and mappings only."""
    if isinstance(bound, Factory):
        return {"name": bound.name} | {key: to_plain(value) for key, value in bound.options.items()}
    if is_dataclass(bound) and not isinstance(bound, type):
        return {f.name: to_plain(getattr(bound, f.name)) for f in fields(bound)}
    if isinstance(bound, list | tuple):
        return [to_plain(value) for value in bound]
    if isinstance(bound, Mapping):  # the key of a component may be its name
        return {
            key: to_plain(value.options if isinstance(value, Factory) and value.name == key else value)
            for key, value in bound.items()
        }
    return bound


@dataclass
class _Binder:
    problems: list[Problem] = field(default_factory=list)
    unknown: list[tuple[str, str, list[str]]] = field(default_factory=list)  # where, key, the keys that there are
    known: list[str] = field(default_factory=list)  # full paths

    def finish(self) -> None:
        for where, key, siblings in self.unknown:
            elsewhere = [path for path in self.known if path.split(".")[-1] == key]
            if elsewhere and not difflib.get_close_matches(key, siblings, n=1, cutoff=0.8):
                hint = "did you mean " + listed([f"'{path}'" for path in elsewhere], 3, " or ") + "?"
            else:
                hint = suggest(key, siblings)
            self.problems.append(Problem(_join(where, key), f"unknown key; {hint}" if hint else "unknown key"))
        if self.problems:
            raise ConfigError(*sorted(self.problems, key=lambda problem: problem.path))

    def options(self, function: Callable[..., Any], tree: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        """None where something is wrong."""
        mistakes = len(self.problems) + len(self.unknown)
        known = options_of(function)
        shown = [name for name in known if name not in getattr(function, "elsewhere", ())]
        self.known += [_join(path, name) for name in shown]
        self.unknown += [(path, str(key), shown) for key in tree if key not in known]
        bound: dict[str, Any] = {}
        plain: dict[str, Option] = {}
        for name, option in known.items():
            value = tree.get(name, option.default)
            family = family_of(option.annotation)
            if value is REQUIRED or (isinstance(value, str) and value == MISSING):
                or_null = ", if only as null" if type(None) in get_args(option.annotation) else ""
                self.problems.append(Problem(_join(path, name), f"is missing; it has to be given{or_null}"))
            elif family is not None:
                nullable = type(None) in get_args(option.annotation)
                bound[name] = None if value is None and nullable else self.component(family, value, _join(path, name))
            elif get_origin(option.annotation) is Mapping and family_of(get_args(option.annotation)[1]) is not None:
                bound[name] = self.named(option.annotation, tree.get(name) or {}, _join(path, name))
            elif is_dataclass(option.annotation) and name in tree:
                bound[name] = self.group(option.annotation, value, _join(path, name))
            elif name in tree:
                plain[name] = option
            else:
                bound[name] = value
        bound |= self.values(plain, tree, path)
        if len(self.problems) + len(self.unknown) > mistakes:
            return None
        return {name: bound[name] for name in known}

    def group(self, dataclass: Any, value: Any, path: str) -> Any:
        """An instance of the dataclass; None where something is wrong."""
        if not isinstance(value, Mapping):
            self.problems.append(Problem(path, f"should be a group of keys, but is {value!r}"))
            return None
        bound = self.options(dataclass, value, path)
        if bound is None:
            return None
        try:
            return dataclass(**bound)
        except ValueError as error:
            self.problems.append(Problem(path, str(error)))
            return None

    def component(self, family: Family[Any], node: Any, path: str, is_named: bool = False) -> Factory[Any] | None:
        """is_named: by the key that it stands under."""
        if isinstance(node, str):
            node = {"name": node}
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str) or node["name"] == MISSING:
            hint = suggest("", family.components)
            self.problems.append(Problem(path, f"should be a group of keys with the component's `name`; {hint}"))
            return None
        name = node["name"]
        if name not in family.components:
            hint = suggest(name, family.components)
            if is_named and not hint.startswith("did"):
                hint = f"{WITH_NAME}; {hint}"
            where = path if is_named else _join(path, "name")
            self.problems.append(Problem(where, f"no component is called '{name}'; {hint}"))
            return None
        component = family.components[name]
        if not is_named:
            self.known.append(_join(path, "name"))
        bound = self.options(component, {key: value for key, value in node.items() if key != "name"}, path)
        return None if bound is None else Factory(component, name, bound, path)

    def named(self, annotation: Any, value: Any, path: str) -> Any:
        """Components by names, each a group of options, or null for none. Where `name` is not among the options, a
        component is called as what it stands under.
        """
        if not isinstance(value, Mapping):
            self.problems.append(Problem(path, f"should be a group of keys, but is {value!r}"))
            return None
        family = family_of(get_args(annotation)[1])
        assert family is not None
        found = {}
        for name, node in value.items():
            if isinstance(node, Mapping):
                named = "name" not in node
                found[name] = self.component(family, {"name": name, **node}, _join(path, str(name)), is_named=named)
            elif node is None:
                found[name] = None
            else:
                message = f"should be a group of options, {{}} for the usual ones, or null for none, but is {node!r}"
                if node in family.components:
                    message += f"; {WITH_NAME}"
                self.problems.append(Problem(_join(path, str(name)), message))
        return found

    def values(self, known: Mapping[str, Option], tree: Mapping[str, Any], path: str) -> dict[str, Any]:
        """What pydantic makes of the values."""
        model = _pydantic_model(tuple((name, option.annotation) for name, option in known.items()))
        given = {
            name: tree[name] if _takes_bool(option.annotation) else _without_bools(tree[name])
            for name, option in known.items()
        }
        try:
            checked = model.model_validate(given)
        except ValidationError as error:
            mistakes: dict[str, list[Any]] = {}
            values: dict[str, Any] = {}
            for mistake in error.errors(include_url=False):
                name, *inside = mistake["loc"]
                where, value = str(name), tree[str(name)]
                if inside and isinstance(inside[0], int) and mistake["type"] != "missing":
                    where, value = f"{where}[{inside[0]}]", value[inside[0]]
                mistakes.setdefault(where, []).append(mistake)
                values[where] = value
            for where, found in mistakes.items():
                self.problems.append(Problem(_join(path, where), _explain(found, values[where])))
            return {}
        return {name: getattr(checked, f"option_{name}") for name in known}


@cache
def _pydantic_model(annotations: tuple[tuple[str, Any], ...]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)
    # The prefix keeps option names such as `json` or `copy` from hiding what BaseModel has.
    declared: dict[str, Any] = {f"option_{name}": (kind, Field(alias=name)) for name, kind in annotations}
    return create_model("Options", __config__=config, **declared)


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_bool(part) for part in get_args(annotation))


def _without_bools(value: Any) -> Any:
    """Something that is refused in the place of true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, list):
        return [_without_bools(part) for part in value]
    return object() if isinstance(value, bool) else value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _explain(mistakes: list[Any], value: Any) -> str:
    missing = [mistake["loc"][1] + 1 for mistake in mistakes if mistake["type"] == "missing"]
    words = [f"a list of {max(missing)} values"] if missing else [_expected(mistake) for mistake in mistakes]
    given = "empty (null)" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    message = f"should be {' or '.join(dict.fromkeys(words))}, but is {given}"
    if isinstance(value, bool) and "text" in words:
        message += "; YAML reads yes, no, on and off so where they have no quotes"
    choices = [choice for m in mistakes if m["type"] == "literal_error" for choice in _choices(m)]
    if choices and isinstance(value, str) and (close := difflib.get_close_matches(value, choices, n=1)):
        message += f"; did you mean '{close[0]}'?"
    return message


def _choices(mistake: Mapping[str, Any]) -> list[str]:
    return [choice.strip("'") for choice in mistake["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _expected(mistake: Mapping[str, Any]) -> str:
    """What would be right, from pydantic's kind of error."""
    kind, context = str(mistake["type"]), mistake.get("ctx", {})
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in bounds:
        words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}[bounds[kind]]
        return f"{words} {context[bounds[kind]]:g}"
    if kind == "literal_error":
        choices = _choices(mistake)
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    for prefix, words in {
        "int": "a whole number",
        "float": "a number",
        "finite_number": "a finite number",
        "bool": "true or false",
        "string": "text",
        "list": "a list",
        "tuple": "a list",
        "dict": "a mapping",
        "none": "empty (null)",
        "too_long": f"a list of {context.get('max_length')} values",
    }.items():
        if kind.startswith(prefix):
            return words
    return str(mistake["msg"])
