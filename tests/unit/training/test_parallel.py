"""What ranks tell each other, and which of them tells the user."""

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seq2seq.data.corpus import Example, ListSource
from seq2seq.data.encoded import encode_source
from seq2seq.errors import ConfigError, DataError
from seq2seq.search.beam import Beam
from seq2seq.search.translator import Interrupted, Translator
from seq2seq.text.plain import WordTokenizer
from seq2seq.training.evaluator import ValidationPart, Validator
from seq2seq.training.interrupts import Interrupts
from seq2seq.training.parallel import ALONE, LAUNCHED, Parallel, RankLost, contact, join
from seq2seq.training.strategies import make_strategy
from seq2seq.training_run import _check_same_data


def test_one_process_has_nobody_to_talk_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join.__wrapped__() == ALONE == Parallel(0, 1, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join.__wrapped__() == ALONE
    assert not torch.distributed.is_initialized()
    assert (ALONE.alone, ALONE.first) == (True, True)
    tensor = torch.ones(3)
    assert ALONE.sum(tensor) is tensor
    assert (ALONE.total(7), ALONE.gather("a"), ALONE.share("b")) == (7, ["a"], "b")
    assert ALONE.tells(DataError("x"), "run")


def test_messages(on_ranks) -> None:
    def talk(parallel: Parallel) -> Any:
        tensor = torch.tensor([1.0, 2.0]) * (parallel.rank + 1)
        own = torch.full((2,), float(parallel.rank + 5))
        parallel.copy_from_first(own)
        return (
            (parallel.rank, parallel.world_size, parallel.ranks_here, parallel.alone, parallel.first),
            parallel.total(10**parallel.rank),
            parallel.sum(tensor).tolist(),
            tensor.tolist(),
            parallel.gather({"rank": parallel.rank}),
            parallel.share(["a", "b", "c"][parallel.rank]),
            own.tolist(),
        )

    for rank, found in enumerate(on_ranks(3, talk)):
        assert found == (
            (rank, 3, 3, False, rank == 0),
            111,
            [6.0, 12.0],
            [1.0 * (rank + 1), 2.0 * (rank + 1)],
            [{"rank": 0}, {"rank": 1}, {"rank": 2}],
            "a",
            [5.0, 5.0],
        )


@pytest.mark.parametrize(
    ("signals", "expected"),
    [({}, None), ({1: signal.SIGINT}, signal.SIGINT), ({0: signal.SIGINT, 1: signal.SIGTERM}, signal.SIGTERM)],
)
def test_a_signal_counts_when_all_ranks_know_of_it(signals: dict[int, int], expected: int | None, on_ranks) -> None:
    def receive(parallel: Parallel) -> Any:
        with Interrupts(shared=True, quiet=True) as interrupts:
            parallel.interrupts = interrupts
            if parallel.rank in signals:
                signal.raise_signal(signals[parallel.rank])
                signal.raise_signal(signal.SIGTERM)  # torchrun sends one more; it must not end the process
            before = bool(interrupts)
            parallel.wait()
            return before, interrupts.received

    assert on_ranks(2, receive) == [(False, expected)] * 2


def test_the_end_of_a_rank_is_noticed_at_once(on_ranks) -> None:
    def lose(parallel: Parallel) -> Any:
        parallel.wait()
        if parallel.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        begun = time.monotonic()
        try:
            with contact():
                while True:
                    parallel.wait()
        except RankLost as error:
            return str(error), error.exit_status, time.monotonic() - begun < 30

    told = (
        "lost another rank: its process has ended or its machine cannot be reached; the same command continues from "
        "the newest checkpoint"
    )
    assert on_ranks(2, lose) == [(told, 1, True), None]


def test_contact_leaves_other_faults_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), contact():
        raise RuntimeError("shapes do not fit")


def test_a_fault_is_told_once(on_ranks) -> None:
    def fail(parallel: Parallel) -> Any:
        common = parallel.tells(DataError("the same\nand more of it"), "a")
        parallel.wait()
        again = parallel.tells(DataError("the same"), "b")  # of another run of a sweep
        own = parallel.tells(DataError(f"of rank {parallel.rank}"), "a")
        parallel.wait()
        lost = parallel.tells(RankLost("lost"), "a")  # there is a better reason
        lost_only = parallel.tells(RankLost("lost"), "c")
        os.environ[LAUNCHED] = "1"
        return common, again, own, lost, lost_only, parallel.tells(RankLost("lost"), "d")

    answers = list(zip(*on_ranks(2, fail), strict=True))
    assert [sorted(answer) for answer in answers] == [
        [False, True],
        [False, True],
        [True, True],
        [False, False],
        [False, True],
        [False, False],
    ]


def test_ranks_that_read_other_data_do_not_train(on_ranks) -> None:
    def begin(parallel: Parallel) -> Any:
        loader = SimpleNamespace(state_dict=lambda: {"contents": "new" if parallel.rank == 2 else "old"})
        try:
            _check_same_data(SimpleNamespace(parallel=parallel, loader=loader))
        except DataError as error:
            return str(error)
        return None

    told = "rank 2 has read other training data than rank 0: is one's copy out of date?"
    assert on_ranks(3, begin) == [told] * 3


def test_options_that_do_not_fit_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    ALONE.check_devices(None, "cuda:1")
    ALONE.check_devices(1, "auto")
    with pytest.raises(ConfigError) as caught:
        ALONE.check_devices(2, "auto")
    told = "trainer.devices: is 2, but 1 were started on this machine; leave it out under torchrun"
    assert str(caught.value) == told
    ranks = Parallel(rank=5, world_size=8, ranks_here=4)
    ranks.check_devices(4, "auto")
    with pytest.raises(ConfigError) as caught:
        ranks.check_devices(None, "cuda:1")
    assert str(caught.value) == (
        "trainer.device: is cuda:1, but each of 8 processes needs its own; set auto, cuda or cpu"
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks.check_devices(None, "cpu")
    with pytest.raises(ConfigError) as caught:
        ranks.check_devices(None, "auto")
    assert str(caught.value) == "trainer.devices: is 4, but this machine has 2 GPUs"


def test_ranks_that_do_not_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.delenv(LAUNCHED, raising=False)
    with pytest.raises(ConfigError, match=r"^the ranks do not find each other at 127\.0\.0\.1:\?: .*MASTER_PORT"):
        join.__wrapped__()


PAIRS = [("a b c", "d e"), ("b", "f g h i"), ("c c a b a", "e"), ("f", "a b"), ("h i", "g g g")]
EXAMPLES = [Example(source, target, number) for number, (source, target) in enumerate(PAIRS)]


def validator(model: torch.nn.Module, parallel: Parallel, strategy: str) -> Validator:
    tokenizer = WordTokenizer()
    tokenizer.train([text for pair in PAIRS for text in pair])
    cpu = torch.device("cpu")
    encoded = encode_source(ListSource(EXAMPLES), tokenizer, tokenizer, max_length=None)
    return Validator(
        model=model,
        parts={"": ValidationPart(encoded, EXAMPLES, "de")},
        translator=Translator(model, tokenizer, tokenizer, Beam(beam_size=2), max_tokens=12, max_length=9, device=cpu),
        max_tokens=12,
        device=cpu,
        autocast=torch.no_grad,
        strategy=make_strategy(strategy, model, parallel, cpu),
    )


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_share_a_validation(strategy: str, make_model, on_ranks) -> None:
    """Five sentences, so that they have unequal numbers of batches; before any training, as at a resume."""

    def validate(parallel: Parallel) -> Any:
        made = validator(make_model("transformer"), parallel, strategy)
        before = [type(weight) for weight in made.model.parameters()]
        metrics, translations = made(lambda: False)
        maps = made.attention_maps(translations[:2])
        assert [type(weight) for weight in made.model.parameters()] == before
        return metrics, [translation.text for translation in translations], [m.weights().tolist() for m in maps]

    metrics, texts, maps = validate(ALONE)
    for found, found_texts, found_maps in on_ranks(2, validate):
        assert found == pytest.approx(metrics, rel=1e-5)
        assert found_texts == texts
        assert [torch.tensor(m).shape for m in found_maps] == [torch.tensor(m).shape for m in maps]


@pytest.mark.parametrize("moment", [1, 3])
def test_a_signal_to_one_rank_interrupts_the_validation_of_all(moment: int, make_model, on_ranks) -> None:
    """In the measuring of the loss, and in the translating."""

    def validate(parallel: Parallel) -> Any:
        asked: list[int] = []

        def should_stop() -> bool:
            asked.append(1)
            return parallel.rank == 1 and len(asked) == moment

        try:
            validator(make_model("transformer"), parallel, "ddp")(should_stop)
        except Interrupted:
            return len(asked)
        return None

    first, second = on_ranks(2, validate)
    assert second == moment
    assert first is not None
