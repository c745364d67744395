"""Names to classes. YAML names a component; its class is found here; its signature is the schema of its options.

The one rule of a component's constructor: parameters before `*` come from the program (vocabularies, dimensions);
keyword-only parameters after `*` come from YAML. A component that is made of others takes a `Factory` for each.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from seq2seq.errors import ConfigError, Problem

T = TypeVar("T")
C = TypeVar("C")

PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
NonPositiveFloat = Annotated[float, Le(0)]
Probability = Annotated[float, Ge(0), Lt(1)]


class Family(Generic[T]):
    """All components that implement one interface; `group` is their folder under configs/."""

    all: ClassVar[dict[type, Family[Any]]] = {}

    def __init__(self, group: str, interface: type[T]) -> None:
        self.group = group
        self.interface = interface
        self.components: dict[str, type[T]] = {}
        Family.all[interface] = self

    def register(self, name: str) -> Callable[[type[C]], type[C]]:
        """Class decorator. Raises ValueError where another class already has the name, and where the constructor is no
        schema: options without annotation, or **kwargs.
        """

        def add(cls: type[C]) -> type[C]:
            for parameter in inspect.signature(cls).parameters.values():
                if parameter.kind is parameter.VAR_KEYWORD:
                    raise ValueError(f"{cls.__qualname__}: **{parameter.name} hides the options; name each")
                if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation is parameter.empty:
                    raise ValueError(f"{cls.__qualname__}: the option '{parameter.name}' needs a type annotation")
            known = self.components.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"{self.group} {name!r} is registered twice: {known!r} and {cls!r}")
            self.components[name] = cls  # type: ignore[assignment]
            return cls

        return add


@dataclass(frozen=True)
class Factory(Generic[T]):
    """A component whose options are bound and checked; calling it with what the program provides makes it."""

    component: type[T]
    name: str
    options: Mapping[str, Any]
    path: str = ""

    def __call__(self, *program: Any) -> T:
        """Raises ConfigError, with this component's path, where the constructor refuses with a ValueError."""
        try:
            return self.component(*program, **self.options)
        except ValueError as error:
            raise ConfigError(Problem(self.path, str(error))) from error
