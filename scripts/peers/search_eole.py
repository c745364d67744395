"""eole: its Translator, with the model in the number format that is asked for."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from eole.config.run import PredictConfig, TrainConfig
from eole.models.model import get_model_class
from eole.predict import GNMTGlobalScorer, Translator
from peers.eole import config_of, vocabs_of
from peers.measuring import Pairs, lengths_of
from peers.searching import SearchWork, measure
from torch import nn


def translator_of(
    model: nn.Module, vocabs: dict[str, Any], config: TrainConfig, beam_size: int, precision: str
) -> Translator:
    asked = PredictConfig(
        model_path="none",
        src="none",
        model=config.model,
        beam_size=beam_size,
        max_length_ratio=0,
        compute_dtype=precision,
    )
    scorer = GNMTGlobalScorer.from_config(asked)
    return Translator(model, vocabs, asked, config.model, device_id=-1, global_scorer=scorer)


def best_of(translator: Translator, pairs: Pairs, *, shortest: int, longest: int) -> list[list[int]]:
    """The best output of each source. shortest, longest: limits in tokens."""
    source, _ = pairs.tensors()
    translator.min_length, translator.max_length = shortest, longest
    batch = {"src": source, "srclen": lengths_of(pairs.source_lengths), "left_pad": False}
    batch["ind_in_bucket"] = list(range(len(source)))
    found = translator.predict_batch(batch, attn_debug=False)
    return [predictions[0].tolist() for predictions in found["predictions"]]


def main() -> None:
    work = SearchWork.from_arguments()
    config = config_of(work)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = get_model_class(config.model).for_training(config.model, vocabs, config.training, device_id=-1).eval()
    if work.precision == "bf16":
        model = model.to(torch.bfloat16)
    translator = translator_of(model, vocabs, config, work.beam_size, work.precision)

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        return best_of(translator, pairs, shortest=length - 1, longest=length)

    versions = {"torch": torch.__version__, "eole": version("eole")}
    measure(work, translate, precision=work.precision, versions=versions)


if __name__ == "__main__":
    main()
