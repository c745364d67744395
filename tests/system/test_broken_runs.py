"""Broken, foreign and malicious files in a run: told in a line, and never run."""

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

Command = Callable[..., Any]


def told(result: Any) -> tuple[int, str, str]:
    return result.status, result.out, result.err


def rewrite(checkpoint: Path, name: str, content: bytes) -> None:
    """As whoever wants it to be believed: size and hash are those of the new content."""
    meta = json.loads((checkpoint / "meta.json").read_text(encoding="utf-8"))
    meta["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / name).write_bytes(content)
    (checkpoint / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def test_truncated_weights(command: Command, run: Path) -> None:
    for step in (2, 4):
        weights = run / "checkpoints" / f"step_{step:08d}" / "model.safetensors"
        size = weights.stat().st_size
        weights.write_bytes(weights.read_bytes()[:1000])
    for name, given in (("evaluate", ["checkpoint=last"]), ("translate", ["checkpoint=step_00000004", "input=in.txt"])):
        Path("in.txt").write_text("one\n", encoding="utf-8")
        assert told(command(f"seq2seq-{name}", "run=run", *given)) == (
            4,
            "",
            f"seq2seq-{name}: {weights}: 1,000 bytes, but {size:,} were written\n",
        )


def test_weights_of_another_model(command: Command, run: Path) -> None:
    last = run / "checkpoints" / "step_00000004"
    rewrite(last, "model.safetensors", save({"decoder.embedding.weight": torch.zeros(3, 5)}))
    status, out, err = told(command("seq2seq-evaluate", "run=run", "checkpoint=last"))
    assert (status, out) == (4, "")
    assert err.startswith(f"seq2seq-evaluate: {last}/model.safetensors: does not fit the run's model in ")
    assert err.count("\n") == 1
    rewrite(last, "model.safetensors", b"no safetensors at all")
    status, out, err = told(command("seq2seq-evaluate", "run=run", "checkpoint=last"))
    assert (status, out) == (4, "")
    assert err.startswith(f"seq2seq-evaluate: {last}/model.safetensors: not a safetensors file (")


def test_training_goes_on_from_the_checkpoint_before_a_broken_one(
    command: Command, run: Path, tiny: tuple[str, ...]
) -> None:
    weights = run / "checkpoints" / "step_00000004" / "model.safetensors"
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:1000])
    status, out, err = told(command("seq2seq-train", *tiny, "trainer.max_steps=6", "run=run"))
    assert (status, out) == (0, "")
    assert (
        "warning: broken checkpoint passed over, and renamed to step_00000004.broken: "
        f"{weights}: 1,000 bytes, but {size:,} were written\n"
        "continuing at step 2\n"
    ) in err
    assert "trained 6 steps" in err


class Payload:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return (open, ("ran", "w"))


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Payload(), protocol=2), zipped(Payload()), zipped({"progress": Payload()})],
    ids=["pickle", "zip", "zip with more"],
)
def test_a_pickle_in_the_place_of_the_training_state(
    command: Command, run: Path, tiny: tuple[str, ...], content: bytes
) -> None:
    last = run / "checkpoints" / "step_00000004"
    rewrite(last, "training.pt", content)
    status, out, err = told(command("seq2seq-train", *tiny, "trainer.max_steps=5", "run=run"))
    assert (status, out) == (0, "")
    refused = (
        "training.pt: holds something else than tensors and plain values; refused, since loading it could run code"
    )
    assert f"warning: broken checkpoint passed over, and renamed to step_00000004.broken: {last}/{refused}\n" in err
    assert not Path("ran").exists()

    for checkpoint in (run / "checkpoints").glob("step_????????"):
        rewrite(checkpoint, "training.pt", content)
    status, out, err = told(command("seq2seq-train", *tiny, "trainer.max_steps=9", "run=run"))
    assert (status, out) == (4, "")
    assert (
        "seq2seq-train: run/checkpoints: no checkpoint is whole; remove the folder to train from the beginning\n" in err
    )
    assert f"  {run}/checkpoints/step_00000005/{refused}\n" in err
    assert not Path("ran").exists()

    pickle.loads(pickle.dumps(Payload()))
    assert Path("ran").exists()  # the trap works


def test_a_stray_pickle_in_a_checkpoint(command: Command, run: Path) -> None:
    last = run / "checkpoints" / "step_00000004"
    (last / "optimizer.pkl").write_bytes(pickle.dumps(Payload()))
    message = (
        f"{last}: holds optimizer.pkl, which is no part of a checkpoint; only model.safetensors, training.pt and "
        "meta.json are accepted, so that nothing can run code when it is loaded"
    )
    result = command("seq2seq-evaluate", "run=run", "checkpoint=step_00000004")
    assert told(result) == (4, "", f"seq2seq-evaluate: {message}\n")
    assert not Path("ran").exists()


TOO_NEW = "should begin with 'format: 1'; not a config that this version stored"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", TOO_NEW),
        (b"model: lstm\n", TOO_NEW),
        (b"format: 2\n", TOO_NEW),
        (b"- format\n", TOO_NEW),
        (b"format: 1\nmodel: [\n", "cannot be read (while parsing a flow node)"),
        (
            b"format: 1\nmodel: \xff\n",
            "cannot be read ('utf-8' codec can't decode byte 0xff in position 17: invalid start byte)",
        ),
        (
            b"format: 1\nmodel: !!python/object/apply:builtins.open [ran, w]\n",
            "cannot be read (could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:builtins.open')",
        ),
    ],
)
@pytest.mark.parametrize("name", ["evaluate", "translate"])
def test_a_broken_config(command: Command, run: Path, name: str, content: bytes, message: str) -> None:
    (run / "config.yaml").write_bytes(content)
    Path("in.txt").write_text("one\n", encoding="utf-8")
    given = ["input=in.txt"] if name == "translate" else []
    assert told(command(f"seq2seq-{name}", "run=run", *given)) == (
        4,
        "",
        f"seq2seq-{name}: run/config.yaml: {message}\n",
    )
    assert not Path("ran").exists()


def test_a_stored_config_with_mistakes(command: Command, run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("beam_size: 5", "beam_sise: 5"), encoding="utf-8")
    assert told(command("seq2seq-evaluate", "run=run")) == (
        4,
        "",
        "seq2seq-evaluate: run/config.yaml: search.beam_sise: unknown key; did you mean 'beam_size'?\n",
    )


@pytest.mark.parametrize(
    "change", [lambda model: model[:-1], lambda model: b"", lambda model: None], ids=["cut", "empty", "gone"]
)
@pytest.mark.parametrize("name", ["evaluate", "translate", "train"])
def test_a_broken_tokenizer(
    command: Command, run: Path, tiny: tuple[str, ...], name: str, change: Callable[[bytes], bytes | None]
) -> None:
    file = run / "tokenizer" / "shared" / "tokenizer.model"
    changed = change(file.read_bytes())
    file.unlink()
    if changed is not None:
        file.write_bytes(changed)
    Path("in.txt").write_text("one\n", encoding="utf-8")
    given = {"evaluate": [], "translate": ["input=in.txt"], "train": [*tiny, "trainer.max_steps=5"]}[name]
    message = (
        "the file is missing"
        if changed is None
        else ("the file is damaged; copy the tokenizer again from where it was trained")
    )
    assert told(command(f"seq2seq-{name}", *given, "run=run")) == (4, "", f"seq2seq-{name}: {file}: {message}\n")
