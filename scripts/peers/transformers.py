"""transformers: a Marian model trained by Seq2SeqTrainer, fed with the batches of the work.

Marian normalises after each sublayer. In bf16 the trainer runs the forward pass under autocast.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers.measuring import BOS, EOS, PAD, Recorder, Work
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import MarianConfig, MarianMTModel, Seq2SeqTrainer, Seq2SeqTrainingArguments

IGNORED = -100  # the label of padding


def config_of(work: Work) -> MarianConfig:
    sizes, both = work.sizes, {}
    for side in ("encoder", "decoder"):
        both |= {f"{side}_layers": sizes["num_layers"], f"{side}_attention_heads": sizes["num_heads"]}
        both |= {f"{side}_ffn_dim": sizes["d_ff"]}
    return MarianConfig(
        vocab_size=sizes["vocabulary"],
        d_model=sizes["d_model"],
        dropout=work.dropout,
        attention_dropout=work.dropout,
        activation_dropout=work.dropout,
        activation_function="relu",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
        use_cache=False,
        **both,
    )


def arguments_of(work: Work) -> Seq2SeqTrainingArguments:
    return Seq2SeqTrainingArguments(
        output_dir=str(Path(work.folder) / "transformers"),
        use_cpu=work.device == "cpu",
        max_steps=work.num_steps,
        learning_rate=work.lr,
        adam_beta2=0.98,
        lr_scheduler_type="constant",
        label_smoothing_factor=work.label_smoothing,
        max_grad_norm=work.clip_norm,
        bf16=work.precision == "bf16",
        torch_compile=work.compile,
        seed=work.seed,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class Batches(IterableDataset[dict[str, Tensor]]):
    """Of the work, as Marian's forward takes them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __iter__(self) -> Any:
        for _, source, target in self.recorder.batches():
            labels = target[:, 1:]
            yield {
                "input_ids": source,
                "attention_mask": (source != PAD).long(),
                "decoder_input_ids": target[:, :-1],
                "labels": labels.masked_fill(labels == PAD, IGNORED),
            }


class Trainer(Seq2SeqTrainer):
    """Takes whole batches from its data set, and keeps the losses."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.losses: list[Tensor] = []
        self.label_tokens = 0
        self.last: dict[str, Tensor] = {}

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.train_dataset, batch_size=None)

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *arguments: Any, **options: Any) -> Tensor:
        self.last = dict(inputs)
        self.label_tokens += int((inputs["labels"] != IGNORED).sum())
        loss = super().training_step(model, inputs, *arguments, **options)
        self.losses.append(loss.detach())
        return loss


def main() -> None:
    work = Work.from_arguments()
    recorder = Recorder(work)
    model = MarianMTModel(config_of(work))
    trainer = Trainer(model=model, args=arguments_of(work), train_dataset=Batches(recorder))
    trainer.train()
    recorder.finish(
        model,
        lambda: float(trainer.compute_loss(model, trainer._prepare_inputs(dict(trainer.last)))),
        losses=[loss.item() for loss in trainer.losses],
        label_tokens=trainer.label_tokens,
        precision=work.precision,
        versions={"transformers": version("transformers")},
    )


if __name__ == "__main__":
    main()
