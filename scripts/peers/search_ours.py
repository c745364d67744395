"""This project's beam search in torch, some batches side by side as its translator does it."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import torch
from benchmark_presets import Unending
from peers.measuring import PAD, Pairs
from peers.ours import arguments, tokenizers_of
from peers.searching import SearchWork, measure
from presets import compose_run
from processes import NOT_HERE

import seq2seq


def main() -> None:
    from seq2seq.nn.int8 import int8_copy, is_supported
    from seq2seq.search.backend import shared_threads
    from seq2seq.search.beam import Beam
    from seq2seq.training.precision import autocast, resolve_device, resolve_precision

    work = SearchWork.from_arguments()
    in_int8 = work.precision == "int8"
    device = resolve_device("cpu")
    if in_int8 and not is_supported(device):
        print("torch has no int8 on this processor", file=sys.stderr)
        sys.exit(NOT_HERE)
    config = compose_run(*arguments(replace(work, precision="fp32") if in_int8 else work))
    vocab = tokenizers_of(work.sizes["vocabulary"]).target.vocab
    model = config.model(vocab, vocab).eval()
    searched = Unending(int8_copy(model) if in_int8 else model)
    precision = resolve_precision(config.trainer.precision, device)
    context = partial(autocast, device, precision)

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        source, _ = pairs.tensors()
        search = Beam(beam_size=work.beam_size, max_length=length - 1)
        with torch.no_grad(), context():
            found = search(searched, source, source != PAD)  # type: ignore[arg-type]
        return [hypotheses[0].tokens for hypotheses in found]

    versions = {"torch": torch.__version__, "seq2seq": seq2seq.__version__}
    with shared_threads(device) as workers:
        measure(work, translate, precision="int8" if in_int8 else precision, versions=versions, at_a_time=workers)


if __name__ == "__main__":
    main()
