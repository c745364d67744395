import errno
import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from seq2seq.errors import CheckpointError, UserError
from seq2seq.training import checkpoint as module
from seq2seq.training.checkpoint import CheckpointStore, load_training, load_weights, open_checkpoint


class Tied(nn.Module):
    """A tied matrix, a buffer that is stored and one that is not."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embedding.weight
        self.register_buffer("count", torch.tensor([7, 2]))
        self.register_buffer("cache", torch.ones(4), persistent=False)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.fill_(value + number / 8)

    @property
    def value(self) -> float:
        return self.embedding.weight[0, 0].item()


def store_in(folder: Path, metric: str = "bleu", keep_last: int = 100, keep_best: int = 1) -> CheckpointStore:
    lower = metric == "loss"
    return CheckpointStore(
        folder / "checkpoints", metric=metric, keep_last=keep_last, keep_best=keep_best, lower_is_better=lower
    )


def save(store: CheckpointStore, step: int, bleu: float | None = None, stopgap: bool = False) -> None:
    """The weights and the training state are those of the step."""
    metrics = {} if bleu is None else {"bleu": bleu}
    store.save(step, Tied(step), {"step": step, "rows": [torch.full((2,), step)]}, metrics, stopgap=stopgap)


def steps(store: CheckpointStore) -> list[int]:
    return [checkpoint.step for checkpoint in store.all()]


def change(folder: Path, name: str, content: bytes) -> None:
    """With a meta.json that fits, as a stranger would do it."""
    (folder / name).write_bytes(content)
    meta = json.loads((folder / "meta.json").read_text())
    meta["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "meta.json").write_text(json.dumps(meta))


def test_round_trip(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    state = {"step": 12, "optimizer": {"state": {0: {"mean": torch.arange(3.0)}}}, "generators": torch.get_rng_state()}
    model = Tied(2.5)
    model.count += 1
    store.save(12, model, state, {"bleu": 20.5, "loss": 1.25})
    found = store.newest(pytest.fail)
    assert found is not None
    checkpoint, training = found
    assert (checkpoint.step, checkpoint.metrics) == (12, {"bleu": 20.5, "loss": 1.25})
    assert training["step"] == 12
    assert torch.equal(training["optimizer"]["state"][0]["mean"], torch.arange(3.0))
    assert torch.equal(training["generators"], state["generators"])
    other = Tied(0)
    other.cache.fill_(9)
    load_weights(other, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert other.count.tolist() == [8, 3]
    assert other.cache.tolist() == [9] * 4
    assert other.head.weight is other.embedding.weight


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 1)
    stored = load_file(store.folder / "step_00000001" / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        "embedding.weight": (5, 3),
        "head.bias": (5,),
        "count": (2,),
    }


def test_meta_holds_what_was_written(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 3, bleu=4.0)
    folder = store.folder / "step_00000003"
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["format"], meta["step"], meta["metrics"]) == (1, 3, {"bleu": 4.0})
    for name in ("model.safetensors", "training.pt"):
        content = (folder / name).read_bytes()
        assert meta["files"][name] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert sorted(entry.name for entry in folder.iterdir()) == ["meta.json", "model.safetensors", "training.pt"]


def test_pointers(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    assert not (store.folder / "best").exists()
    for step, bleu in ((20, 5.0), (30, 9.0), (40, 9.0), (50, 7.0)):
        save(store, step, bleu)
    assert (store.folder / "last").read_text() == "step_00000050\n"
    assert (store.folder / "best").read_text() == "step_00000030\n"  # the earlier one where they are equal


def test_a_lower_loss_is_better(tmp_path: Path) -> None:
    store = store_in(tmp_path, metric="loss")
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0)):
        store.save(step, Tied(), {}, {"loss": loss, "bleu": loss})
    assert [checkpoint.step for checkpoint in store.best(2)] == [2, 3]


def test_pruning_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_last=2, keep_best=2)
    for step, bleu in ((1, 8.0), (2, 1.0), (3, 9.0), (4, None), (5, 2.0), (6, 3.0), (7, None)):
        save(store, step, bleu)
    assert steps(store) == [1, 3, 6, 7]
    save(store, 8, 8.5)
    assert steps(store) == [3, 7, 8]
    assert sorted(e.name for e in store.folder.iterdir()) == [
        "best",
        "last",
        *(f"step_0000000{n}" for n in (3, 7, 8)),
    ]


def test_a_stopgap_goes_with_the_next_save_and_pushes_none_out(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_last=2)
    for step in (10, 20):
        save(store, step)
    save(store, 25, stopgap=True)
    assert steps(store) == [10, 20, 25]
    assert (store.folder / "last").read_text() == "step_00000025\n"
    save(store, 30)
    assert steps(store) == [20, 30]


def test_the_average_is_the_mean(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    models = []
    for step in range(1, 5):
        models.append(Tied())
        torch.manual_seed(step)
        nn.init.normal_(models[-1].embedding.weight)
        store.save(step, models[-1], {}, {"bleu": {1: 9.0, 2: 1.0, 3: 4.0, 4: 5.0}[step]})
    averaged = Tied()
    last = store.choose("average", average=3, average_of="last")
    assert [checkpoint.step for checkpoint in last] == [2, 3, 4]
    load_weights(averaged, *last)
    expected = torch.stack([model.embedding.weight.double() for model in models[1:]]).mean(dim=0)
    torch.testing.assert_close(averaged.embedding.weight.double(), expected, rtol=1e-6, atol=1e-7)
    assert averaged.count.tolist() == [7, 2]
    best = store.choose("average", average=2, average_of="best")
    assert [checkpoint.step for checkpoint in best] == [1, 4]


def test_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)

    def chosen(name: str) -> list[int]:
        return [checkpoint.step for checkpoint in store.choose(name, average=5, average_of="last")]

    for name in ("best", "last", "average"):
        with pytest.raises(CheckpointError, match="holds no whole checkpoint yet"):
            chosen(name)
    save(store, 10)
    assert chosen("best") == [10]  # nothing was validated
    save(store, 20, 3.0)
    save(store, 30, 2.0)
    assert (chosen("best"), chosen("last"), chosen("average")) == ([20], [30], [10, 20, 30])
    assert chosen("step_00000010") == [10]
    assert chosen(str(store.folder / "step_00000020")) == [20]
    monkeypatch.chdir(tmp_path)
    assert chosen("checkpoints/step_00000030") == [30]
    with pytest.raises(CheckpointError, match=r"no checkpoint 'bset'; did you mean 'best'\?"):
        chosen("bset")
    with pytest.raises(CheckpointError, match=r"meta.json: No such file .*; not a checkpoint"):
        chosen("checkpoints")


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def flip(name: str) -> Callable[[Path], object]:
    """One bit of the last byte."""

    def flip_in(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return flip_in


def remove(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


WEIGHTS, TRAINING, META = "model.safetensors", "training.pt", "meta.json"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (remove(WEIGHTS), r"model\.safetensors: No such file"),
    "no state": (remove(TRAINING), r"training\.pt: No such file"),
    "no meta": (remove(META), r"meta\.json: No such file"),
    "nothing": (remove(WEIGHTS, TRAINING, META), r"meta\.json: No such file"),
    "cut weights": (cut(WEIGHTS), r"model\.safetensors: [\d,]+ bytes, but [\d,]+ were written"),
    "cut state": (cut(TRAINING), r"training\.pt: [\d,]+ bytes, but [\d,]+ were written"),
    "cut meta": (cut(META), r"meta\.json: broken"),
    "a list as meta": (lambda folder: (folder / META).write_text("[1]"), r"meta\.json: broken"),
    "flipped weights": (flip(WEIGHTS), r"model\.safetensors: .*SHA-256 differs"),
    "flipped state": (flip(TRAINING), r"training\.pt: .*SHA-256 differs"),
    "a stranger": (lambda folder: (folder / "weights.bin").write_bytes(b""), r"holds weights\.bin"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_one_is_told_and_the_one_before_it_is_used(tmp_path: Path, damage: str) -> None:
    """With keep_last=1: a broken one that still counts as the last would push the whole ones out."""
    store = store_in(tmp_path, keep_last=2)
    for step in (10, 20, 30):
        save(store, step, bleu=step)
    break_it, message = DAMAGES[damage]
    break_it(store.folder / "step_00000030")
    told: list[str] = []
    store = store_in(tmp_path, keep_last=1)
    found = store.newest(told.append)
    assert found is not None
    assert (found[0].step, found[1]["step"]) == (20, 20)
    assert len(told) == 1
    assert re.search(rf"renamed to step_00000030\.broken: .*{message}", told[0])
    for name in ("best", "last"):
        assert (store.folder / name).read_text() == "step_00000020\n"
    save(store, 25)
    assert steps(store) == [20, 25]
    save(store, 30, bleu=35.0)  # again, and this time whole
    assert steps(store) == [30]
    assert store.newest(pytest.fail) is not None


def test_where_none_is_whole_training_does_not_begin_anew(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for step in (10, 20):
        save(store, step)
        cut(WEIGHTS)(store.folder / f"step_000000{step}")
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole; remove the folder") as caught:
        store.newest(pytest.fail)
    assert "step_00000010/model.safetensors" in str(caught.value)
    assert "step_00000020/model.safetensors" in str(caught.value)
    assert steps(store) == [10, 20]  # nothing was renamed


def test_what_file_managers_leave_is_no_damage(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    (store.folder / "step_00000010" / ".DS_Store").touch()
    assert store.newest(pytest.fail) is not None


def test_another_format_is_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    meta = store.folder / "step_00000010" / META
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 2}))
    with pytest.raises(CheckpointError, match=r"meta\.json: format 2, but this version reads format 1"):
        open_checkpoint(meta.parent)


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def saved_by_torch(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickled(value: object) -> bytes:
    return pickle.dumps(value, protocol=2)


@pytest.mark.parametrize("make", [pickled, saved_by_torch])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, make: Callable[[object], bytes]) -> None:
    store = store_in(tmp_path)
    for step in (10, 20):
        save(store, step)
    folder, crater = store.folder / "step_00000020", tmp_path / "crater"
    change(folder, TRAINING, make({"progress": Bomb(crater)}))
    with pytest.raises(CheckpointError, match=r"training\.pt: .*refused, since loading it could run code"):
        load_training(open_checkpoint(folder))
    told: list[str] = []
    found = store.newest(told.append)
    assert found is not None
    assert found[0].step == 10
    assert "could run code" in told[0]
    change(store.folder / "step_00000010", WEIGHTS, make({"embedding.weight": Bomb(crater)}))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_weights(Tied(), open_checkpoint(store.folder / "step_00000010"))
    assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.is_dir()  # the bomb is a real one


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", saved_by_torch([1, 2]), saved_by_torch(5)])
def test_any_nonsense_as_state_is_a_checkpoint_error(tmp_path: Path, content: bytes) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    change(store.folder / "step_00000010", TRAINING, content)
    with pytest.raises(CheckpointError, match=r"training\.pt: "):
        load_training(open_checkpoint(store.folder / "step_00000010"))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    other = Tied()
    other.head.bias = nn.Parameter(torch.zeros(6))
    with pytest.raises(CheckpointError, match=r"does not fit .* in 1 tensors, the first: head\.bias should be \(6,\)"):
        load_weights(other, *store.last(1))


@pytest.mark.parametrize("failing", [1, 2, 3, 4], ids=["weights", "state", "meta", "pointer"])
def test_a_full_disk_leaves_the_older_ones_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    store = store_in(tmp_path, keep_last=1)
    save(store, 10, bleu=1.0)
    calls = []

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        path.write_bytes(content[: len(content) // 2])
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_synced", full)
        with pytest.raises(UserError, match=r"step_00000020: cannot be written \(No space left on device\)") as e:
            save(store, 20, bleu=0.5)
    assert len(str(e.value)) < 300 + len(str(tmp_path))
    assert not list(store.folder.glob(".step_*"))
    found = store_in(tmp_path).newest(pytest.fail)
    assert found is not None
    assert found[0].step == (20 if failing == 4 else 10)
    save(store, 30)
    assert steps(store) == [10, 30]  # 10 is the best


class Killed(BaseException):
    """Stands for the end of the process: no code of ours catches it."""


def kill_at(patch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """Before and in the middle of everything that `save` does to the disk; returns what was done so far."""
    done: list[str] = []

    def wrap(owner: Any, name: str, damage: Callable[..., object]) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            for part in ("before", "within"):
                done.append(f"{part} {name}")
                if len(done) == moment:
                    if part == "within":
                        damage(*arguments)
                    raise Killed
            return original(*arguments, **options)

        patch.setattr(owner, name, counted)

    def half_removed(folder: Path, **_: Any) -> None:
        for file in sorted(folder.glob("*"))[1:]:
            file.unlink()

    nothing: Callable[..., object] = lambda *arguments: None  # noqa: E731
    wrap(module, "write_synced", lambda path, content: path.write_bytes(content[: len(content) // 2]))
    wrap(module, "flush", nothing)
    wrap(module.shutil, "rmtree", half_removed)
    for name in ("rename", "replace", "mkdir"):
        wrap(Path, name, nothing)
    return done


@pytest.mark.parametrize("again", [False, True], ids=["a new step", "the same step with its metrics"])
@pytest.mark.parametrize("keep_last", [1, 2])
def test_a_kill_at_any_moment_of_saving_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool, keep_last: int
) -> None:
    moment = 0
    while True:
        moment += 1
        folder = tmp_path / str(moment)
        store = store_in(folder, keep_last=keep_last)
        for step, bleu in ((10, 9.0), (15, None), (20, None)):
            save(store, step, bleu)
        with monkeypatch.context() as patch:
            done = kill_at(patch, moment)
            try:
                save(store, 20 if again else 25, 11.0)
                break
            except Killed:
                pass
        resumed = store_in(folder, keep_last=keep_last)
        for seen_by_evaluation in resumed.all():
            seen_by_evaluation.read(WEIGHTS)
        found = resumed.newest(pytest.fail)
        assert found is not None, done
        checkpoint, training = found
        assert checkpoint.step in ({20} if again else {20, 25}), done
        assert training["step"] == checkpoint.step
        model = Tied()
        load_weights(model, checkpoint)
        assert model.value == checkpoint.step
        assert (resumed.folder / "last").read_text() == f"{checkpoint.folder.name}\n", done
        best = checkpoint.folder.name if checkpoint.metrics else "step_00000010"
        assert (resumed.folder / "best").read_text() == f"{best}\n", done
        assert not list(resumed.folder.glob(".step_*")), done
        save(resumed, 30, 12.0)
        assert steps(resumed)[-1] == 30
    assert moment > 20


def test_a_leftover_of_a_killed_write_is_cleared_away(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    save(store, 10)
    leftover = store.folder / ".step_00000020.tmp"
    leftover.mkdir()
    (leftover / WEIGHTS).write_bytes(b"half")
    found = store.newest(pytest.fail)
    assert found is not None
    assert found[0].step == 10
    assert not leftover.exists()


def test_resuming_changes_no_file(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for step in (10, 20):
        save(store, step, bleu=step)

    def state() -> Mapping[Path, tuple[int, int]]:
        files = [path for path in store.folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}

    before = state()
    assert store.newest(pytest.fail) is not None
    assert state() == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert store_in(tmp_path).newest(pytest.fail) is None
    (tmp_path / "checkpoints" / "step_of_mine").mkdir(parents=True)
    assert store_in(tmp_path).newest(pytest.fail) is None


def test_two_processes_write_a_small_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one begins and ends while the first one is at it."""
    path, write = tmp_path / "scores.json", module.write_synced

    def slowly(file: Path, content: bytes) -> None:
        write(file, content)
        with monkeypatch.context() as other:
            other.setattr(module, "write_synced", write)
            other.setattr(os, "getpid", lambda: 0)
            module.write_replaced(path, "theirs")
        assert path.read_text() == "theirs"

    monkeypatch.setattr(module, "write_synced", slowly)
    module.write_replaced(path, "ours")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("scores.json", "ours")]
