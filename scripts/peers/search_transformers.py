"""transformers: a Marian model's generate."""

from __future__ import annotations

from importlib.metadata import version

import torch
from peers.measuring import PAD, Pairs
from peers.searching import SearchWork, measure
from peers.transformers import config_of
from transformers import MarianMTModel


def main() -> None:
    work = SearchWork.from_arguments()
    model = MarianMTModel(config_of(work)).eval()
    if work.precision == "bf16":
        model = model.to(torch.bfloat16)

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        source, _ = pairs.tensors()
        with torch.inference_mode():
            outputs = model.generate(
                input_ids=source,
                attention_mask=(source != PAD).long(),
                num_beams=work.beam_size,
                min_new_tokens=length,
                max_new_tokens=length,
                use_cache=True,
            )
        return [output[1:].tolist() for output in outputs]

    versions = {"torch": torch.__version__, "transformers": version("transformers")}
    measure(work, translate, precision=work.precision, versions=versions)


if __name__ == "__main__":
    main()
