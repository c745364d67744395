import html
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seq2seq.data.encoded import EncodedCorpus, Rows
from seq2seq.search.alignment import AttentionMap
from seq2seq.training.reporters import JsonLines, TensorBoard


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def accumulate(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def test_json_lines_one_object_a_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reporter = JsonLines(path, resume_step=0)
    reporter.scalars(5, 1.23456, {"train/loss": 2.5, "train/lr": 1e-3})
    assert read(path) == [{"step": 5, "seconds": 1.235, "train/loss": 2.5, "train/lr": 1e-3}]
    reporter.scalars(10, 2, {"validation/bleu": 30.25})
    assert read(path)[1] == {"step": 10, "seconds": 2, "validation/bleu": 30.25}
    reporter.close()


def test_json_lines_stay_json_without_finite_numbers(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reporter = JsonLines(path, resume_step=0)
    reporter.scalars(1, 0.5, {"train/loss": float("nan"), "train/gradient_norm": float("inf"), "train/lr": 0.1})
    reporter.close()
    assert read(path) == [{"step": 1, "seconds": 0.5, "train/loss": None, "train/gradient_norm": None, "train/lr": 0.1}]


def test_json_lines_after_a_kill(tmp_path: Path) -> None:
    """Killed in the middle of a line at step 8, resumed at the checkpoint of step 6."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "a": 1}\n{"step": 6, "a": 2}\n{"step": 7, "a": 3}\n{"step": 8, "a')
    reporter = JsonLines(path, resume_step=6)
    assert read(path) == [{"step": 4, "a": 1}, {"step": 6, "a": 2}]
    reporter.scalars(7, 9.0, {"a": 30.0})
    reporter.close()
    assert [line["step"] for line in read(path)] == [4, 6, 7]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_json_lines_of_a_half_line_that_would_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 4, "a": 1}\n{"step": 5, "a": 1')
    JsonLines(path, resume_step=9).close()
    assert path.read_text() == '{"step": 4, "a": 1}\n'


def test_tensorboard_scalars(tmp_path: Path) -> None:
    reporter = TensorBoard(tmp_path, resume_step=0)
    reporter.scalars(1, 0.5, {"train/loss": 2.5})
    reporter.scalars(3, 1.5, {"train/loss": 1.5, "validation/bleu": 12.5})
    reporter.close()
    events = accumulate(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.5), (3, 1.5)]
    assert [(event.step, event.value) for event in events.Scalars("validation/bleu")] == [(3, 12.5)]


def rows(lengths: list[int]) -> Rows:
    return Rows((np.full(sum(lengths), 5, np.int32), np.cumsum([0, *lengths])))


def test_tensorboard_lengths(tmp_path: Path) -> None:
    sources, targets = [2, 2, 5], [1, 1000, 3]
    reporter = TensorBoard(tmp_path, resume_step=0)
    reporter.lengths(EncodedCorpus(rows(sources), rows(targets), np.arange(3)))
    reporter.close()
    events = accumulate(tmp_path)
    assert sorted(events.Tags()["histograms"]) == ["data/source_length", "data/target_length"]
    [event] = events.Histograms("data/source_length")
    found = event.histogram_value
    assert event.step == 0
    assert (found.min, found.max, found.num, found.sum, found.sum_squares) == (2, 5, 3, 9, 33)
    assert (found.bucket_limit, found.bucket) == ([2.5, 3.5, 4.5, 5.5], [2, 0, 0, 1])
    [event] = events.Histograms("data/target_length")
    assert len(event.histogram_value.bucket) == 200
    assert sum(event.histogram_value.bucket) == 3


def test_tensorboard_lengths_of_text_alone(tmp_path: Path) -> None:
    reporter = TensorBoard(tmp_path, resume_step=0)
    reporter.lengths(EncodedCorpus(None, rows([4, 4]), np.arange(2)))
    reporter.close()
    assert accumulate(tmp_path).Tags()["histograms"] == ["data/target_length"]


def test_tensorboard_hides_what_is_trained_again(tmp_path: Path) -> None:
    killed = TensorBoard(tmp_path, resume_step=0)
    for step in (2, 4, 6, 8):
        killed.scalars(step, step, {"train/loss": 100.0 + step})
    killed.close()
    resumed = TensorBoard(tmp_path, resume_step=4)
    resumed.scalars(6, 6.0, {"train/loss": 206.0})
    resumed.close()
    events = accumulate(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(2, 102.0), (4, 104.0), (6, 206.0)]


def test_tensorboard_samples_are_shown_as_they_are(tmp_path: Path) -> None:
    row = ("a | b <b>bold</b>", "*one* _two_ `three`", "line\nbreak [x](y) \\ &amp;")
    reporter = TensorBoard(tmp_path, resume_step=0)
    reporter.samples(7, [row, ("x", "y", "z")])
    reporter.close()
    event = accumulate(tmp_path).Tensors("samples/text_summary")[0]
    lines = event.tensor_proto.string_val[0].decode().splitlines()

    assert event.step == 7
    assert len(lines) == 4
    assert all(line.count("|") == 4 for line in lines)
    assert not re.search(r"[<>*_`\[\]\\]", lines[2])
    cells = [html.unescape(cell.strip()) for cell in lines[2].strip("|").split("|")]
    assert cells == [row[0], row[1], "line break [x](y) \\ &amp;"]


def attention_map(source: list[str], target: list[str]) -> AttentionMap:
    """Each target token reads the source token in its place."""
    weights = np.eye(len(target), len(source), dtype=np.float32)
    return AttentionMap(source, target, [weights], list(range(len(source))), list(range(len(target))))


def test_tensorboard_shows_attention(tmp_path: Path) -> None:
    reporter = TensorBoard(tmp_path, resume_step=0)
    nothing = attention_map([], [])
    reporter.attention(7, [attention_map(["a", "</s>"], ["b", "</s>"]), nothing, attention_map(["c"], ["d"])])
    reporter.attention(8, [])
    reporter.close()
    events = accumulate(tmp_path)
    assert sorted(events.Tags()["images"]) == ["attention/1", "attention/3"]
    assert [event.step for event in events.Images("attention/1")] == [7]
    assert events.Images("attention/1")[0].encoded_image_string.startswith(b"\x89PNG")


def finished(folder: Path, lr: float, bleu: float, *, step: int = 40, resumed: int = 0) -> None:
    options = {"model": "lstm", "optimizer.lr": lr, "layers": 2, "tied": True, "trainer.device": str(lr)}
    reporter = TensorBoard(folder / "tensorboard", resume_step=resumed)
    reporter.scalars(step, 9.0, {"train/loss": 1.0})
    reporter.finish(options, {"best/bleu": bleu})
    reporter.close()


def test_tensorboard_hyperparameters_lie_in_the_same_run(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    finished(tmp_path / "mine", 0.5, 31.5)
    assert not [entry for entry in (tmp_path / "mine" / "tensorboard").iterdir() if entry.is_dir()]
    events = accumulate(tmp_path / "mine" / "tensorboard")
    assert [(event.step, event.value) for event in events.Scalars("best/bleu")] == [(40, 31.5)]
    stored = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    started = HParamsPluginData.FromString(stored).session_start_info
    options = started.hparams
    assert options["model"].string_value == "lstm"
    assert options["optimizer.lr"].number_value == 0.5
    assert options["layers"].number_value == 2
    assert options["tied"].bool_value is True
    assert started.group_name == "mine"
    assert "trainer.device" not in options


def test_tensorboard_shows_each_run_of_a_sweep_in_a_row(tmp_path: Path) -> None:
    """Asked as its page asks: a run that has gone on has one row, too, and what differs comes first."""
    from tensorboard import context
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    finished(tmp_path / "lr=0.5", 0.5, 31.5)
    finished(tmp_path / "lr=0.1", 0.1, 30.0)
    time.sleep(1)  # TensorBoard orders files by the second of their start
    finished(tmp_path / "lr=0.1", 0.1, 33.0, step=60, resumed=40)
    TensorBoard(tmp_path / "unfinished" / "tensorboard", resume_step=0).close()
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    backend = backend_context.Context(TBContext(data_provider=provider))
    asked = context.RequestContext(), backend, "experiment"
    experiment = get_experiment.Handler(*asked, api_pb2.GetExperimentRequest()).run()
    found = [(info.name, info.differs) for info in experiment.hparam_infos]
    assert found == [("optimizer.lr", True), ("layers", False), ("model", False), ("tied", False)]
    metrics = [info.name.tag for info in experiment.metric_infos]
    assert metrics[0] == "best/bleu"
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=10, allowed_statuses=[api_pb2.STATUS_SUCCESS],
        col_params=[api_pb2.ColParams(metric=api_pb2.MetricName(tag="best/bleu"))],
    )  # fmt: skip
    rows = list_session_groups.Handler(*asked, request).run().session_groups
    told = {row.name: (row.hparams["optimizer.lr"].number_value, row.metric_values[0].value) for row in rows}
    assert told == {"lr=0.5": (0.5, 31.5), "lr=0.1": (0.1, 33.0)}
    assert len(rows) == 2


def test_tensorboard_comes_silently_and_late(tmp_path: Path) -> None:
    code = (
        "import sys; import seq2seq.training.reporters as r; assert 'tensorboard' not in sys.modules; "
        "from pathlib import Path; r.TensorBoard(Path(sys.argv[1]), resume_step=0).close()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
