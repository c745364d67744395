"""What becomes of the words of a command line before Hydra reads them."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seq2seq.cli.overrides import config_folder, forgiving, groups, placed
from seq2seq.errors import ConfigError

KNOWN = {
    "model": ["lstm", "mlp-2"],
    "model/encoder": ["gru", "lstm"],
    "debug": ["quick"],
    "sweep": ["models", "rates"],
    "hydra/launcher": ["joblib"],
    "data@data.text": ["csv", "tsv"],
}


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("data.train=corpus/train", ["++data.train=corpus/train"]),
        ("optimizer.lr=1e-3,5e-4", ["++optimizer.lr=1e-3,5e-4"]),
        ("nonsense=3", ["++nonsense=3"]),
        # what Hydra takes in quotes only
        ("run=runs/model=lstm,optimizer.lr=0.1", ["++run='runs/model=lstm,optimizer.lr=0.1'"]),
        ("data.train=gr\u00f6\u00dfe", ["++data.train='gr\u00f6\u00dfe'"]),
        ("run=~/runs", ["++run='~/runs'"]),
        ("data.train=a b", ["++data.train=a b"]),
        ("data.template=say, again: {source}!", ["++data.template='say, again: {source}!'"]),
        ("data.template={source}", ["++data.template='{source}'"]),
        ("data.template='say: {source}'", ["++data.template='say: {source}'"]),
        # what has a meaning of its own
        ("data.train='a=b'", ["++data.train='a=b'"]),
        ("data.train=[a,b]", ["++data.train=[a,b]"]),
        ("run=[runs/lr=1, b*,runs/lr=*]", ["++run=['runs/lr=1', b*,'runs/lr=*']"]),
        ("optimizer.lr=choice(1,2)", ["++optimizer.lr=choice(1,2)"]),
        ("run=${oc.env:HOME}/x", ["++run=${oc.env:HOME}/x"]),
        ("+data.train=3", ["+data.train=3"]),
        ("~model", ["~model"]),
        ("hydra.verbose=true", ["hydra.verbose=true"]),
        ("hydra/launcher=basic", ["hydra/launcher=basic"]),
        ("foo", ["foo"]),
        # groups
        ("model=lstm", ["model=lstm"]),
        ("model=lstm,mlp-2", ["model=lstm,mlp-2"]),
        ("model/encoder=gru", ["model/encoder=gru"]),
        ("debug=null", ["~debug"]),
        ("model/encodr=gru", ["model/encodr=gru"]),
        ("+model/encoder@model.decoder=gru", ["+model/encoder@model.decoder=gru"]),
        # a component by its name
        ("model.encoder.name=gru", ["model/encoder=gru"]),
        ("model.encoder=gru", ["model/encoder=gru"]),
        ("model.encoder.name=gru,lstm", ["model/encoder=gru,lstm"]),
        ("model.encoder.name=mine", ["~model/encoder", "++model.encoder.name=mine"]),
        ("model.encoder={name: mine}", ["++model.encoder={name: mine}"]),
        ("data@data.text=tsv", ["data@data.text=tsv"]),
        ("data.text.name=tsv,csv", ["data@data.text=tsv,csv"]),
        ("data.text=tsv", ["data@data.text=tsv"]),
        ("data.text.name=mine", ["~data@data.text", "++data.text.name=mine"]),
        ("data.text.train=tsv", ["++data.text.train=tsv"]),
        ("model.encoder.named=gru", ["++model.encoder.named=gru"]),
    ],
)
def test_forgiving(typed: str, given: list[str]) -> None:
    assert forgiving(typed, KNOWN) == given
    if typed != "foo":
        OverridesParser.create().parse_overrides(given)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("=3", "'=3' has no key before the '='; see --help"),
        ("run=", "run: has no value; run=null means none"),
        ("model=lstmm", "model: no choice 'lstmm'; did you mean 'lstm'?"),
        ("model=lstm,gru", "model: no choice 'gru'; there are: lstm, mlp-2"),
        ("model=\u00e4", "model: no choice '\u00e4'; there are: lstm, mlp-2"),
        (
            "model/encoder.d_model=7",
            "model/encoder.d_model: is an option, not a group: type model.encoder.d_model=7",
        ),
        ("debug/steps=7", "debug/steps: is an option, not a group: type debug.steps=7"),
        (
            "+model/encoder/d_model=7,8",
            "+model/encoder/d_model: is an option, not a group: type +model.encoder.d_model=7,8",
        ),
        ("hydra/launcher=joblip", "hydra/launcher: no choice 'joblip'; did you mean 'joblib'?"),
        ("data@data.text=tvs", "data@data.text: no choice 'tvs'; did you mean 'tsv'?"),
        ("debug=[quick]", "debug: takes one choice, not a list; there are: quick"),
        ("sweep=rates,models", "sweep: takes one choice, not several; there are: models, rates"),
    ],
)
def test_what_is_not_forgiven(typed: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        forgiving(typed, KNOWN)
    assert str(caught.value) == message


def test_groups_are_those_of_all_folders(tmp_path: Path) -> None:
    (tmp_path / "model" / "encoder").mkdir(parents=True)
    (tmp_path / "model" / "encoder" / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    (tmp_path / "model" / "notes.txt").write_text("", encoding="utf-8")
    (tmp_path / "train.yaml").write_text("", encoding="utf-8")
    assert groups([tmp_path]) == {"model/encoder": ["mine"]}
    both = groups([config_folder(), tmp_path])
    assert {"lstm", "mine", "transformer"} <= set(both["model/encoder"])
    assert both["search"] == ["beam", "greedy", "sampling"]


def test_parts_that_are_chosen_from_another_group(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    text = "defaults:\n  - encoder: gru\n  - /model/encoder@first: lstm # or gru\n  - _self_\n"
    (tmp_path / "model" / "two.yaml").write_text(text, encoding="utf-8")
    assert placed([tmp_path]) == {"model.first": "model/encoder"}
    assert placed([config_folder()]).items() >= {"data.text": "data", "data.sentences": "data"}.items()
