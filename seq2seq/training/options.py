"""What `trainer.*` sets."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from seq2seq.registry import NonNegativeFloat, NonNegativeInt, PositiveInt
from seq2seq.training.compiled import CompileMode
from seq2seq.training.precision import Precision
from seq2seq.training.strategies import StrategyName


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How long to train, in which batches, and what to keep.

    Options:
        max_steps: stop after so many updates; null = no limit
        max_epochs: stop after so many passes over the training data; null = no limit
        max_tokens: size of a micro-batch: examples x longest side, padding counted; auto = as large as fits in memory
        accumulate: micro-batches in one update, of each process
        max_length: training pairs with more tokens on a side are left out, and counted
        clip_norm: largest norm of the gradient of one update; 0 = not clipped
        validate_every: steps between two validations
        save_every: steps between two checkpoints; null = one at each validation
        log_every: steps between two reports
        patience: stop after so many validations without a better metric; null = never
        metric: what tells the best checkpoint: one of the metrics, loss or token_accuracy; null = the first metric
        keep_last: newest checkpoints kept
        keep_best: best checkpoints kept
        average: checkpoints that `checkpoint=average` takes the mean of
        average_of: whether those are the last or the best
        validation_beam_size: beam of the validation's translations; 1 = greedy, the fastest
        validation_examples: pairs of the validation split that are used; null = all
        samples: validation translations shown in TensorBoard, with their attention
        precision: fp32, bf16, or auto = bf16 where the device is faster in it
        device: auto = a GPU where there is one; or cpu, cuda, cuda:1, ...
        devices: processes that train together on this machine, each on a device of its own; null = one, or torchrun's
        strategy: of several processes each has the whole model (ddp), or a part of it where it is too large (fsdp)
        recompute: backward computes Transformer and convolutional layers again: half the memory, a quarter more time
        compile: layers by torch.compile: always, never, or auto = on a GPU, where the run is long enough to gain by it
        num_threads: CPU threads; null = one for each core
        seed: of the initial weights, dropout and the order of the data
    """

    max_steps: PositiveInt | None = 100_000
    max_epochs: PositiveInt | None = None
    max_tokens: PositiveInt | Literal["auto"] = 4096
    accumulate: PositiveInt = 1
    max_length: PositiveInt = 256
    clip_norm: NonNegativeFloat = 1.0
    validate_every: PositiveInt = 1000
    save_every: PositiveInt | None = None
    log_every: PositiveInt = 50
    patience: PositiveInt | None = None
    metric: str | None = None
    keep_last: PositiveInt = 5
    keep_best: PositiveInt = 1
    average: PositiveInt = 5
    average_of: Literal["last", "best"] = "last"
    validation_beam_size: PositiveInt = 1
    validation_examples: PositiveInt | None = None
    samples: NonNegativeInt = 5
    precision: Precision = "auto"
    device: str = "auto"
    devices: PositiveInt | None = None
    strategy: StrategyName = "ddp"
    recompute: bool = False
    compile: CompileMode = "auto"
    num_threads: PositiveInt | None = None
    seed: Annotated[int, Ge(0), Lt(2**63)] = 1

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_epochs is None:
            raise ValueError("one of max_steps and max_epochs has to be given")
        if self.max_tokens == "auto" and self.strategy == "fsdp":
            raise ValueError("max_tokens=auto tries the whole model on one device: with strategy=fsdp set a number")
        kept = self.keep_last if self.average_of == "last" else self.keep_best
        if kept < self.average:
            raise ValueError(
                f"average={self.average} checkpoints need keep_{self.average_of}={self.average} or more, not {kept}"
            )

    @property
    def token_budget(self) -> int:
        """max_tokens, in whose place a number stands by now where it was `auto`."""
        assert self.max_tokens != "auto"
        return self.max_tokens
