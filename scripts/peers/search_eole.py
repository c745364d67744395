"""eole: its Translator, with the model in the number format that is asked for."""

from __future__ import annotations

from importlib.metadata import version

import torch
from eole.config.run import PredictConfig
from eole.models.model import get_model_class
from eole.predict import GNMTGlobalScorer, Translator
from peers.eole import config_of, vocabs_of
from peers.measuring import Pairs, lengths_of
from peers.searching import SearchWork, measure


def main() -> None:
    work = SearchWork.from_arguments()
    config = config_of(work)
    vocabs = vocabs_of(work.sizes["vocabulary"])
    model = get_model_class(config.model).for_training(config.model, vocabs, config.training, device_id=-1).eval()
    if work.precision == "bf16":
        model = model.to(torch.bfloat16)
    asked = PredictConfig(
        model_path="none",
        src="none",
        model=config.model,
        beam_size=work.beam_size,
        max_length_ratio=0,
        compute_dtype=work.precision,
    )
    scorer = GNMTGlobalScorer.from_config(asked)
    translator = Translator(model, vocabs, asked, config.model, device_id=-1, global_scorer=scorer)

    def translate(pairs: Pairs, length: int) -> list[list[int]]:
        source, _ = pairs.tensors()
        translator.min_length, translator.max_length = length - 1, length
        batch = {"src": source, "srclen": lengths_of(pairs.source_lengths), "left_pad": False}
        batch["ind_in_bucket"] = list(range(len(source)))
        found = translator.predict_batch(batch, attn_debug=False)
        return [predictions[0].tolist() for predictions in found["predictions"]]

    versions = {"torch": torch.__version__, "eole": version("eole")}
    measure(work, translate, precision=work.precision, versions=versions)


if __name__ == "__main__":
    main()
