"""CTranslate2: a bare script around its Translator, on a model of the same sizes, in float32, bfloat16 or int8.

Normalised before each sublayer. A batch is shared out among as many workers as there are threads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2 import Translator, get_supported_compute_types
from ctranslate2.specs import TransformerSpec
from ctranslate2.specs.common_spec import Activation
from peers.measuring import Pairs
from peers.searching import SearchWork, measure
from processes import NOT_HERE

COMPUTE_TYPES = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
MAX_POSITIONS = 1024
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")


def tokens_of(size: int) -> list[str]:
    """Token n has the id n."""
    return [*SPECIAL, *(f"t{number}" for number in range(len(SPECIAL), size))]


def random_model(sizes: dict[str, int], seed: int) -> TransformerSpec:
    width, inner, vocabulary = sizes["d_model"], sizes["d_ff"], sizes["vocabulary"]
    generator = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        return generator.normal(0, width**-0.5, shape).astype(np.float32)

    def linear(part: Any, output: int, width_in: int) -> None:
        part.weight, part.bias = weights(output, width_in), weights(output)

    def norm(part: Any) -> None:
        part.gamma, part.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def attention(part: Any, outputs: Sequence[int]) -> None:
        norm(part.layer_norm)
        for layer, output in zip(part.linear, outputs, strict=True):
            linear(layer, output, width)

    def feed_forward(part: Any) -> None:
        norm(part.layer_norm)
        linear(part.linear_0, inner, width)
        linear(part.linear_1, width, inner)

    spec = TransformerSpec.from_config(
        (sizes["num_layers"], sizes["num_layers"]), sizes["num_heads"], pre_norm=True, activation=Activation.RELU
    )
    embeddings, positions = weights(vocabulary, width), weights(MAX_POSITIONS, width)
    for side in (spec.encoder, spec.decoder):
        table = side.embeddings[0] if side is spec.encoder else side.embeddings
        table.weight = embeddings
        side.scale_embeddings = True
        side.position_encodings.encodings = positions
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, (3 * width, width))
            if side is spec.decoder:
                attention(layer.attention, (width, 2 * width, width))
            feed_forward(layer.ffn)
    linear(spec.decoder.projection, vocabulary, width)
    tokens = tokens_of(vocabulary)
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    return spec


def main() -> None:
    work = SearchWork.from_arguments()
    compute_type = COMPUTE_TYPES[work.precision]
    if compute_type not in get_supported_compute_types("cpu"):
        print(f"it has no {compute_type} on this processor", file=sys.stderr)
        sys.exit(NOT_HERE)
    folder = Path(work.folder) / "ctranslate2"
    folder.mkdir(exist_ok=True)
    spec = random_model(work.sizes, work.seed)
    spec.validate()
    spec.save(str(folder))
    translator = Translator(
        str(folder), device="cpu", compute_type=compute_type, inter_threads=work.threads, intra_threads=1
    )
    names = np.array(tokens_of(work.sizes["vocabulary"]), dtype=object)
    numbers = {name: number for number, name in enumerate(names.tolist())}

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        sources = [[*names[row].tolist(), "</s>"] for row in pairs.sources]
        found = translator.translate_batch(
            sources,
            beam_size=work.beam_size,
            max_batch_size=-(-len(sources) // work.threads),
            min_decoding_length=length - 1,
            max_decoding_length=length,
        )
        return [[numbers[token] for token in result.hypotheses[0]] for result in found]

    measure(work, translate, precision=work.precision, versions={"CTranslate2": version("ctranslate2")})


if __name__ == "__main__":
    main()
