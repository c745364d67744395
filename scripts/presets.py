"""What the scripts that run over the model presets share: their names, and a config as the commands compose it.

Light to import: torch, Hydra and the models come in with the first config.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from seq2seq.cli.overrides import config_folder, forgiving, groups

if TYPE_CHECKING:
    from seq2seq.config import RunConfig

GENERATED = "# Written by scripts/write_configs.py"


def model_presets() -> list[str]:
    """The files of configs/model that are models of their own: neither components with all their options, nor other
    names of a preset.
    """
    found = []
    for name in groups([config_folder()])["model"]:
        text = (config_folder() / "model" / f"{name}.yaml").read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
        other_name = set(tree) == {"defaults"} and len(tree["defaults"]) == 1
        if GENERATED not in text and not other_name:
            found.append(name)
    return found


def compose_run(*overrides: str) -> RunConfig:
    """The config of `seq2seq-train` with these arguments. Raises ConfigError as the command does."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from seq2seq.cli.overrides import explain
    from seq2seq.config import bind_run

    known = groups([config_folder()])
    given = [part for override in overrides for part in forgiving(override, known)]
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            tree = OmegaConf.to_container(compose("train", given), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, known) from error
    assert isinstance(tree, dict)
    return bind_run({str(key): value for key, value in tree.items()})
