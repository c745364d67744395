"""Names to classes."""

import pytest

from seq2seq.registry import Family


class Tool:
    """An interface."""


def make_class(module: str) -> type[Tool]:
    return type("Hammer", (Tool,), {"__module__": module})


def test_a_name_belongs_to_one_class() -> None:
    tools: Family[Tool] = Family("tool", Tool)
    del Family.all[Tool]
    mine, theirs = make_class("mine"), make_class("theirs")
    tools.register("hammer")(mine)
    assert tools.components == {"hammer": mine}
    with pytest.raises(ValueError, match="tool 'hammer' is registered twice"):
        tools.register("hammer")(theirs)  # a plugin must not take the place of another's component unseen
    tools.register("hammer")(make_class("mine"))  # the module loaded again
