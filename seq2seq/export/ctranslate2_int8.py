"""int8 weights for CTranslate2 that every CPU multiplies right."""

from typing import Any

import numpy as np

from seq2seq.nn.int8 import LARGEST_WEIGHT

SEVEN_BITS = {"int8", "int8_float32"}  # names of formats
TINY = LARGEST_WEIGHT / np.finfo(np.float32).max  # of a row's weights, below which a scale would be infinite


def quantize(spec: Any) -> None:
    """The matrices (out,in) of a CTranslate2 specification, validated and with its aliases made, to whole numbers from
    -63 to 63, with a scale for each row.

    A CPU without VNNI instructions adds two products of an activation, from 0 to 255, and a weight in 16 bits, where
    what lies beyond 32,767 is cut off: with weights up to 127, as the engine makes them, that costs half a BLEU and
    more. Speed and size are the same.
    """
    from ctranslate2.specs.model_spec import NumpyVariable, Variable, visit_spec

    def one(part: Any, name: str, value: Any) -> None:
        key = name.rpartition("/")[2]
        if hasattr(part, f"{key}_scale") and isinstance(value, Variable) and not value.is_scalar():
            weight = value.to("float32").numpy()
            largest = np.abs(weight).max(axis=1)
            scale = np.where(largest > 0, LARGEST_WEIGHT / np.maximum(largest, TINY), 1).astype(np.float32)
            setattr(part, key, NumpyVariable(np.rint(weight * scale[:, None]).astype(np.int8)))
            setattr(part, f"{key}_scale", NumpyVariable(scale))

    visit_spec(spec, one)
