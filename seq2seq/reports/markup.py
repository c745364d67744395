"""HTML that is made in Python: whatever is not marked as HTML is text, and escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

EMPTY = frozenset({"br", "col", "hr", "input", "meta", "wbr"})  # elements without an end


class Markup(str):
    """HTML, not to be escaped again."""


Child = str | Iterable["Child"] | None


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`class_` is the attribute class, `data_value` is data-value; True is one without a value, None and False none."""
    named = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    told = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in named
        if value is not None and value is not False
    )
    if name in EMPTY:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{together(*children)}</{name}>")


def together(*children: Child) -> Markup:
    """One after the other."""
    return Markup("".join(map(_inner, children)))


def _inner(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, str):
        return child if isinstance(child, Markup) else escape(child)
    return together(*child)


def said(text: str, language: str | None = None, class_: str = "said", name: str = "span") -> Markup:
    """Text of the data: in its own direction, and in its language where that is known."""
    return element(name, text, dir="auto", lang=language, class_=class_)


def key_code(key: str) -> Markup:
    """A key of a config, which may be broken where its words end."""
    return element("code", Markup(re.sub(r"(?<=[._])(?=\w)", "<wbr>", escape(key))))


def json_script(identity: str, tree: Any) -> Markup:
    """Data for our script. No text in it can end the element, or begin another: `<` is spelled."""
    told = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        told = told.replace(letter, f"\\u{ord(letter):04x}")
    return element("script", Markup(told), type="application/json", id=identity)


def chart_text(text: str) -> str:
    """For labels of plotly, which reads some HTML in them, and formulas between dollars."""
    return escape(text, quote=False).replace("$", "&#36;")
