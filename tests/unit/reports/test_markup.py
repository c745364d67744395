"""HTML that is made in Python."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from seq2seq.reports.markup import Markup, chart_text, element, json_script, key_code, said, together


def test_texts_are_escaped_and_markup_is_not() -> None:
    inner = element("b", "<script>alert(1)</script> & 'so'")
    assert inner == "<b>&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x27;so&#x27;</b>"
    assert element("p", "a < b ", inner, None, ["c", Markup("<br>")]) == f"<p>a &lt; b {inner}c<br></p>"
    assert together("<", element("br")) == "&lt;<br>"


def test_attributes() -> None:
    told = element("td", "x", class_="number", data_value=1.5, hidden=True, lang=None, checked=False, title='"><b>')
    assert told == '<td class="number" data-value="1.5" hidden title="&quot;&gt;&lt;b&gt;">x</td>'
    assert element("input", name="x", type="radio") == '<input name="x" type="radio">'
    assert said("<i>", "zh") == '<span dir="auto" lang="zh" class="said">&lt;i&gt;</span>'


@given(st.text())
def test_data_in_a_script_is_what_it_was_and_cannot_end_it(text: str) -> None:
    script = json_script("data", {text: [text, "</script><!--<script>"]})
    match = re.fullmatch(r'<script type="application/json" id="data">([^<>&\u2028\u2029]*)</script>', script)
    assert match is not None
    assert json.loads(match[1]) == {text: [text, "</script><!--<script>"]}


def test_keys_break_where_their_words_end() -> None:
    assert key_code("a.b_c<d") == "<code>a.<wbr>b_<wbr>c&lt;d</code>"


def test_labels_of_charts_hold_no_markup_and_no_formulas() -> None:
    assert chart_text("<b>x</b> $y$ & z") == "&lt;b&gt;x&lt;/b&gt; &#36;y&#36; &amp; z"
