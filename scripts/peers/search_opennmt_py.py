"""OpenNMT-py: its Translator."""

from __future__ import annotations

from importlib.metadata import version

import torch
from onmt.model_builder import build_model
from onmt.translate import GNMTGlobalScorer, Translator
from peers.measuring import Pairs, lengths_of
from peers.opennmt_py import options_of, vocabs_of
from peers.searching import SearchWork, measure


def main() -> None:
    work = SearchWork.from_arguments()
    options = options_of(work)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = build_model(options, options, vocabs, None, -1).eval()
    if work.precision == "int8":  # as its option of that name does
        torch.quantization.quantize_dynamic(model, inplace=True)
    scorer = GNMTGlobalScorer(alpha=1.0, beta=0.0, length_penalty="avg", coverage_penalty="none")
    translator = Translator(
        model, vocabs, beam_size=work.beam_size, max_length_ratio=0, global_scorer=scorer, dump_beam=""
    )

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        source, _ = pairs.tensors()
        translator.min_length, translator.max_length = length - 1, length
        batch = {"src": source[:, :, None], "srclen": lengths_of(pairs.source_lengths)}
        batch["ind_in_bucket"] = list(range(len(source)))
        found = translator.translate_batch(batch, attn_debug=False)
        return [predictions[0].tolist() for predictions in found["predictions"]]

    versions = {"torch": torch.__version__, "OpenNMT-py": version("OpenNMT-py")}
    measure(work, translate, precision=work.precision, versions=versions)


if __name__ == "__main__":
    main()
