"""A wheel holds all that the commands need: installed elsewhere, it trains from another working directory."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "debug=quick data.train=60 data.validation=5 tokenizer.vocab_size=400 trainer.max_steps=2 trainer.validate_every=2"
)


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and of the dependencies a link to this one's."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # Put after the wheel on the path; editable installs of this environment live in .pth files, which are not read.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "venv" / "bin"


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "python", "-c", "import seq2seq; print(seq2seq.__file__)", cwd=tmp_path)
    assert str(installed.parent) in found


def test_the_style_and_the_script_of_pages_are_beside_their_code(installed: Path, tmp_path: Path) -> None:
    command = "from seq2seq.reports.page import HERE; print(*sorted(path.name for path in HERE.glob('page.*')))"
    assert run(installed / "python", "-c", command, cwd=tmp_path).split() == ["page.css", "page.js", "page.py"]


def test_train_evaluate_translate_from_another_folder(installed: Path, tmp_path: Path) -> None:
    run(installed / "seq2seq-train", *SMALL.split(), cwd=tmp_path)
    table = run(
        installed / "seq2seq-evaluate", "run=runs/transformer_tiny-demo-quick", "split=validation", cwd=tmp_path
    )
    assert "BLEU" in table
    (tmp_path / "in.txt").write_text("The man sleeps.\n\n", encoding="utf-8")
    run(
        installed / "seq2seq-translate",
        "run=runs/transformer_tiny-demo-quick",
        "input=in.txt",
        "output=out.txt",
        cwd=tmp_path,
    )
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").count("\n") == 2
