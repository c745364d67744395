"""seq2seq-translate beyond a file: examples of any data, copies of what was read, tags, and context."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from seq2seq.data.corpus import corpora
from seq2seq.models.base import Model
from seq2seq.plugins import load_components
from seq2seq.search.base import Hypothesis

Command = Callable[..., Any]

PLUGIN = """\
from seq2seq.data.corpus import Context, Corpus, Example, ListSource, corpora


class Before(Context):
    def with_context(self, lines):
        before = ""
        for line in lines:
            yield f"{before}|{line}" if line else line
            before = line

    def last_sentence(self, text):
        return text.rpartition("|")[2]


@corpora.register("stories")
class Stories(Corpus):
    def __init__(self, *, source: str = "en", target: str = "de", joined: bool = False, tagged: bool = False) -> None:
        self.source, self.target = source, target
        self.context = Before() if joined else None
        self.tags = self.symbols = ("<2de>", "<2ed>") if tagged else ()

    def split(self, name):
        tag = "<2de> " if self.tags else ""
        words = [f"tale {n}" for n in range(20)]
        sources = self.context.with_context(words) if self.context else words
        return ListSource([Example(tag + text, words[n], n) for n, text in enumerate(sources)])
"""
SMALL = (
    "model=lstm_tiny", "model.encoder.d_model=12", "model.decoder.d_model=12", "tokenizer=characters",
    "trainer.max_steps=1", "trainer.validate_every=1", "trainer.device=cpu", "data=stories",
)  # fmt: skip
LINES = ["tale 1", "lat 3", "", "tale 22", "et", "late 5", "eat", "lea", "", "at 6"]


@pytest.fixture(autouse=True)
def stories(command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin in the working directory, forgotten afterwards, and blocks of 3 lines."""
    load_components()  # so that the registry that comes back afterwards is complete
    Path("stories.py").write_text(PLUGIN, encoding="utf-8")
    Path("in.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setattr(corpora, "components", dict(corpora.components))
    monkeypatch.setattr("seq2seq.search.translator.BLOCK", 3)
    yield
    sys.modules.pop("stories", None)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model reads is what it says."""

    def search(self: object, model: Model, source: Tensor, mask: Tensor) -> list[list[Hypothesis]]:
        rows = [row[real][:-1].tolist() for row, real in zip(source, mask, strict=True)]
        return [[Hypothesis(row, -1.0, -1.0), Hypothesis(row[:1], -2.0, -2.0)] for row in rows]

    monkeypatch.setattr("seq2seq.search.beam.Beam.__call__", search)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def train(command: Command, kept: Path) -> Callable[..., None]:
    """Leaves a run in the working directory; trained once for each way."""

    def train(*given: str) -> None:
        folder = kept / "-".join(["run", *given])
        if not folder.exists():
            Path("conf", "data").mkdir(parents=True)
            Path("conf", "data", "stories.yaml").write_text("name: stories\n", encoding="utf-8")
            told = command("seq2seq-train", "--config-dir", "conf", *SMALL, "plugins=[stories]", "run=run", *given)
            assert told.status == 0, told.err
            shutil.rmtree("conf")
            shutil.copytree("run", folder)
        else:
            shutil.copytree(folder, "run")

    return train


def translate(command: Command, *given: str) -> Any:
    return command("seq2seq-translate", "run=run", "plugins=[stories]", *given)


def read(name: str) -> list[str]:
    return Path(name).read_text(encoding="utf-8").split("\n")[:-1]


def write_json(name: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    Path(name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


OF_JSON = ("data=jsonl", "data.source=null", "data.target=de", "split=train")


def test_back_translation(command: Command, train: Callable[..., None], echo: None) -> None:
    """Of text alone, by a run that was trained on pairs."""
    train()
    write_json("mono-1.jsonl.gz", [{"de": line} for line in LINES[:4]])
    write_json("mono-2.jsonl.gz", [{"de": line} for line in LINES[4:]])
    told = translate(command, *OF_JSON, "data.train=mono-*.jsonl.gz", "output=bt.en", "copy=bt.de")
    assert (told.status, told.out) == (0, "")
    assert read("bt.en") == read("bt.de") == LINES
    told = translate(command, *OF_JSON, "data.train=mono-*.jsonl.gz")
    assert told.out.split("\n")[:-1] == LINES


def test_text_that_is_read_alone_for_its_noise(command: Command, train: Callable[..., None], echo: None) -> None:
    train()
    Path("text.en").write_text("tale\n", encoding="utf-8")
    given = ["data=denoising", "data.text.source=null", "data.text.target=en", "data.text.train=text", "split=train"]
    told = translate(command, *given)
    assert (told.status, told.out) == (0, "tale\n"), told.err


def test_a_split_of_the_run_s_own_data(command: Command, train: Callable[..., None], echo: None) -> None:
    train()
    told = translate(command, "split=test", "output=out.txt", "copy=copy.txt", "search.nbest=2")
    assert told.status == 0, told.err
    assert read("copy.txt") == [f"tale {n}" for n in range(20)]
    assert read("out.txt")[:3] == ["0 ||| tale 0 ||| -1.0000", "0 ||| t ||| -2.0000", "1 ||| tale 1 ||| -1.0000"]


def test_examples_are_continued_as_lines_are(command: Command, train: Callable[..., None], echo: None) -> None:
    train()
    given = ["split=test", "output=out.txt", "copy=copy.txt"]
    assert translate(command, *given).status == 0
    whole = read("out.txt")
    Path("out.txt").write_text("".join(f"{line}\n" for line in whole[:7]), encoding="utf-8")
    Path("copy.txt").write_text("".join(f"{line}\n" for line in whole[:11]) + "tal", encoding="utf-8")
    told = translate(command, *given, "resume=true")
    assert "continuing after 7 lines\n" in told.err
    assert read("out.txt") == read("copy.txt") == whole


def test_copies_of_standard_input(command: Command, train: Callable[..., None], transformer: Path) -> None:
    given = [sys.executable, "-m", "seq2seq.cli.translate", f"run={transformer}", "copy=copy.txt"]
    done = subprocess.run(given, input=Path("in.txt").read_bytes(), capture_output=True, check=True)
    assert Path("copy.txt").read_bytes() == Path("in.txt").read_bytes()
    assert done.stdout.count(b"\n") == len(LINES)


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        (
            ["split=test", "input=in.txt"],
            2,
            "input=FILE and split=NAME both say what is translated: give one of them",
        ),
        (
            ["data.test=x", "input=in.txt"],
            2,
            "data has no effect without split=NAME, which says that examples of it are translated",
        ),
        (
            ["split=tset"],
            2,
            "split: should be one of train, validation, test, but is 'tset'; did you mean 'test'?",
        ),
        (["split=test", "data=jsonll"], 2, "data: no choice 'jsonll'; did you mean 'jsonl'?"),
        (["split=test", "data.tests=3"], 2, "data.tests: unknown key; there are: joined, source, tagged, target"),
        (
            [*OF_JSON, "split=test"],
            2,
            "data.test: there is no such split; name what it holds, or a file with input=",
        ),
        (["split=test", "run=rnu"], 4, "rnu: no such run directory; in . there are: run"),
        (
            [*OF_JSON, "data.train=nothere.jsonl"],
            3,
            "data.train: there is neither nothere.jsonl nor nothere.jsonl.gz; similar files there: text.jsonl",
        ),
        ([*OF_JSON, "data.train=*.json"], 3, "data.train: no file matches *.json"),
        (
            [*OF_JSON, "data.train=text.jsonl", "output=text.jsonl"],
            2,
            "output: text.jsonl is the input; name another file",
        ),
        ([*OF_JSON, "data.train=text.jsonl", "copy=text.jsonl"], 2, "copy: text.jsonl is the input; name another file"),
        (["input=in.txt", "copy=in.txt"], 2, "copy: in.txt is the input; name another file"),
        (["input=in.txt", "output=a", "copy=a"], 2, "copy: a is the output; name another file"),
        (["input=in.txt", "copy=a", "attention=a"], 2, "attention: a is the copy; name another file"),
        (["input=in.txt", "copy=no/a"], 2, "copy: no/a: cannot be written (No such file or directory)"),
        (
            ["input=in.txt", "output=a", "copy=/dev/null", "resume=true"],
            2,
            "resume: /dev/null is no file that could be continued",
        ),
        (["input=in.txt", "copy=a", "resume=true"], 2, "resume=true needs output=FILE, what an earlier start wrote"),
        (["input=in.txt", "tag=<2de>"], 2, "tag: the run was trained without tags"),
    ],
)
def test_wrong_use(command: Command, train: Callable[..., None], given: list[str], status: int, message: str) -> None:
    train()
    write_json("text.jsonl", [{"de": "tale"}])
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    told = translate(command, *given)
    assert (told.status, told.out, told.err) == (status, "", f"seq2seq-translate: {message}\n")
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_what_is_before_a_row_that_cannot_be_read_is_written(
    command: Command, train: Callable[..., None], echo: None
) -> None:
    train()
    write_json("text.jsonl", [*({"de": line} for line in LINES[:8]), {"de": 4}, {"de": "at"}])
    given = [*OF_JSON, "data.train=text.jsonl", "output=out.txt", "copy=copy.txt"]
    told = translate(command, *given)
    assert (told.status, told.err.splitlines()[-1]) == (
        3,
        "seq2seq-translate: text.jsonl, line 9: 'de' holds '4', not text",
    )
    assert read("out.txt") == read("copy.txt") == LINES[:6]  # the blocks before it
    write_json("text.jsonl", [{"de": line} for line in LINES])
    assert translate(command, *given, "resume=true").status == 0
    assert read("out.txt") == read("copy.txt") == LINES


def test_tags(command: Command, train: Callable[..., None], echo: None) -> None:
    """Read by the model, and a word of the alignments; not copied."""
    train("data.tagged=true")
    given = ["input=in.txt", "output=out.txt", "copy=copy.txt", "tag=<2ed>"]
    told = translate(command, *given, "attention=maps.jsonl")
    assert told.status == 0, told.err
    tagged = [f"<2ed> {line}" if line else "" for line in LINES]
    assert read("out.txt") == tagged
    assert read("copy.txt") == LINES
    assert [len(json.loads(line)["source"]) for line in read("maps.jsonl")] == [
        len(line) + 1 if line else 0 for line in tagged
    ]
    Path("out.txt").write_text("".join(f"{line}\n" for line in tagged[:4]), encoding="utf-8")
    assert translate(command, *given, "resume=true").status == 0
    assert read("out.txt") == tagged


def test_tags_with_either_backend(
    command: Command, train: Callable[..., None], transformer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read is the same text as with the tag in the file."""
    monkeypatch.setattr("seq2seq.data.demo.Demo.tags", ("woman", "house"))
    lines = ["The old woman opens the door.", "", "the house " * 40]
    Path("in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    Path("tagged.txt").write_text(f"house {lines[0]}\n\n", encoding="utf-8")
    for backend in ("torch", "ctranslate2"):
        common = [f"run={transformer}", f"backend={backend}"]
        told = command("seq2seq-translate", *common, "input=in.txt", "tag=house")
        assert told.status == 0, told.err
        assert told.out.count("\n") == 3
        written = command("seq2seq-translate", *common, "input=tagged.txt")
        assert told.out.splitlines()[:2] == written.out.splitlines()
    told = command("seq2seq-translate", f"run={transformer}", "input=in.txt", "tag=hous")
    message = "seq2seq-translate: tag: the run was trained without 'hous'; did you mean 'house'?\n"
    assert (told.status, told.out, told.err) == (2, "", message)


def test_examples_with_tags_have_them_already(command: Command, train: Callable[..., None], echo: None) -> None:
    train("data.tagged=true")
    told = translate(command, "split=test", "tag=<2de>")
    message = "seq2seq-translate: tag: the sources of this data have their tags already\n"
    assert (told.status, told.out, told.err) == (2, "", message)
    assert translate(command, "split=test").out.startswith("<2de> tale 0\n<2de> tale 1\n")
    write_json("text.jsonl", [{"de": "tale"}])
    assert translate(command, *OF_JSON, "data.train=text.jsonl", "tag=<2de>").out == "<2de> tale\n"


def test_files_are_measured_with_a_tag(command: Command, train: Callable[..., None], echo: None) -> None:
    train("data.tagged=true")
    Path("ref.txt").write_text("".join(f"<2ed> {line}\n" if line else "\n" for line in LINES), encoding="utf-8")
    given = ["run=run", "plugins=[stories]", "source=in.txt", "target=ref.txt"]
    told = command("seq2seq-evaluate", *given, "tag=<2ed>")
    assert told.status == 0, told.err
    scores = json.loads(Path("run/evaluation/in.txt-ref.txt/scores.json").read_bytes())
    assert scores["tag"] == "<2ed>"
    assert scores["bleu"]["score"] == pytest.approx(100)
    command("seq2seq-evaluate", *given, "tag=<2de>")
    other = json.loads(Path("run/evaluation/in.txt-ref.txt-2/scores.json").read_bytes())
    assert other["bleu"]["score"] < 100
    assert other["loss"] != scores["loss"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tag=<2de>"], "the sources of a split have their tags already: tag=TAG needs source=FILE"),
        (
            ["tag=2de", "source=in.txt", "target=in.txt", "data.tagged=false"],
            "tag: the run was trained without '2de'; did you mean '<2de>'?",
        ),
    ],
)
def test_wrong_tags_of_evaluate(command: Command, train: Callable[..., None], given: list[str], message: str) -> None:
    train("data.tagged=true")
    told = command("seq2seq-evaluate", "run=run", "plugins=[stories]", *given)
    assert (told.status, told.out, told.err) == (2, "", f"seq2seq-evaluate: {message}\n")


def test_evaluate_takes_other_data_by_its_name(command: Command, train: Callable[..., None], echo: None) -> None:
    train()
    write_json("pairs.jsonl", [{"en": line, "de": line} for line in LINES])
    given = ["data=jsonl", "data.source=en", "data.target=de", "data.test=pairs.jsonl"]
    told = command("seq2seq-evaluate", "run=run", "plugins=[stories]", *given)
    assert told.status == 0, told.err
    assert told.out.startswith("test: 10 sentences")


READ = ["|tale 1", "tale 1|lat 3", "", "|tale 22", "tale 22|et", "et|late 5", "late 5|eat", "eat|lea", "", "|at 6"]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a model reads from now on."""
    from seq2seq.search.translator import Translator

    seen: list[str] = []
    encode = Translator.encode

    def noting(self: Translator, lines: Any, first_line: int) -> Any:
        seen.extend(lines)
        return encode(self, lines, first_line)

    monkeypatch.setattr(Translator, "encode", noting)
    return seen


def test_context(command: Command, train: Callable[..., None], echo: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and written by the model; neither copied nor in the output."""
    train("data.joined=true")
    seen = spied(monkeypatch)
    told = translate(command, "input=in.txt", "output=out.txt", "copy=copy.txt", "attention=maps.jsonl")
    assert told.status == 0, told.err
    assert seen == READ
    assert read("out.txt") == read("copy.txt") == LINES
    assert [len(json.loads(line)["source"]) for line in read("maps.jsonl")] == [
        len(line) + 1 if line else 0 for line in READ
    ]
    assert translate(command, "input=in.txt", "output=out.txt", "attention=links.txt").status == 0
    links = [[link.split("-") for link in line.split()] for line in read("links.txt")]
    assert len(links) == len(LINES)
    assert any(links)
    for line, of_line in zip(LINES, links, strict=True):  # words of the line alone
        assert all(0 <= int(place) < len(line.split()) for link in of_line for place in link)


@pytest.mark.parametrize("done", [2, 3, 7])
def test_continued_with_context(
    command: Command, train: Callable[..., None], echo: None, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """The lines before the place are read by nobody but those after it."""
    train("data.joined=true")
    for name in ("out.txt", "copy.txt"):
        Path(name).write_text("".join(f"{line}\n" for line in LINES[:done]), encoding="utf-8")
    seen = spied(monkeypatch)
    told = translate(command, "input=in.txt", "output=out.txt", "copy=copy.txt", "resume=true")
    assert told.status == 0, told.err
    assert seen == READ[done // 3 * 3 :]
    assert read("out.txt") == read("copy.txt") == LINES


def test_examples_with_context_have_it_already(
    command: Command, train: Callable[..., None], echo: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("data.joined=true")
    seen = spied(monkeypatch)
    assert translate(command, "split=test", "output=out.txt", "copy=copy.txt").status == 0
    assert seen[:2] == ["|tale 0", "tale 0|tale 1"]
    assert read("out.txt") == read("copy.txt") == [f"tale {n}" for n in range(20)]
    seen.clear()
    write_json("text.jsonl", [{"de": line} for line in LINES])
    assert translate(command, *OF_JSON, "data.train=text.jsonl", "output=out.txt", "copy=copy.txt").status == 0
    assert seen == READ
    assert read("out.txt") == read("copy.txt") == LINES


def test_context_is_not_scored(command: Command, train: Callable[..., None], echo: None) -> None:
    """What the model says are the sentence and that before it; in the reference is the sentence alone."""
    Path("plain").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    train("data.joined=true")
    assert seen_in_validation() == pytest.approx(100)
    write_json("pairs.jsonl", [{"en": line, "de": line} for line in LINES])
    other = ["data=jsonl", "data.source=en", "data.target=de", "data.test=pairs.jsonl"]
    for given, expected in (
        ([], [f"tale {n}" for n in range(20)]),
        (["source=plain", "target=plain"], LINES),
        ([*other, "checkpoint=last"], LINES),
    ):
        told = command("seq2seq-evaluate", "run=run", "plugins=[stories]", *given)
        assert told.status == 0, told.err
        folder = Path(told.err.splitlines()[-1].removeprefix("written to "))
        found = json.loads((folder / "scores.json").read_bytes())
        assert found["chrf"]["score"] == pytest.approx(100)
        assert read(str(folder / "hypotheses.txt")) == expected


def seen_in_validation() -> Any:
    return [json.loads(line) for line in read("run/metrics.jsonl")][-1]["validation/chrf"]
