"""What is printed for whoever uses a model that is given back."""

from types import SimpleNamespace
from typing import Any

import pytest

from seq2seq.export.pretrained import next_step

START = {"is_encoder_decoder": True, "decoder_start_token_id": 2}


def config(theirs: dict[str, Any], first: list[int], template: str | None = None, **options: Any) -> Any:
    architecture = {"config": theirs, "first": first}
    options = {"architecture": architecture, "source_language": None, "separator": "\n", **options}
    return SimpleNamespace(model=SimpleNamespace(options=options), template=template, has_source=True)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (config(START, [2]), ["'A line.'", "max_new_tokens=100)"]),
        (config(START, [2], "sum: {source}"), ["tokenizer(['sum: A line.'], return_tensors", "decode(output[0], skip"]),
        (config(START, [2, 9], source_language="en"), [", src_lang='en')", "=100, forced_bos_token_id=9)"]),
        (config({"is_encoder_decoder": True}, [7]), ["=100, decoder_start_token_id=7)"]),
        (
            config({}, []),
            ["AutoModelForCausalLM", r"tokenizer(['A line.\n'], ", 'output[0, read["input_ids"].size(1):]'],
        ),
    ],
)
def test_the_lines_of_python(given: Any, lines: list[str]) -> None:
    told = next_step(given, "out")
    compile(told, "out", "exec")
    assert all(line in told for line in lines), told
