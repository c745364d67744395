"""Writes configs/<group>/<component>.yaml from the constructors' signatures and docstrings.

python scripts/write_configs.py            # after adding or changing a component
python scripts/write_configs.py --check    # says which files are stale, exits with 1 if any is
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from seq2seq.binding import REQUIRED, family_of, options_of
from seq2seq.cli.overrides import config_folder
from seq2seq.data.filters import filters
from seq2seq.metrics.base import metrics
from seq2seq.plugins import load_components
from seq2seq.registry import Family
from seq2seq.training.loggers import loggers
from seq2seq.training.options import TrainerOptions

WIDTH = 118


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    check = parser.parse_args().check
    load_components()
    stale = []
    for name, text in generated().items():
        path = config_folder() / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    print("\n".join(f"{'stale' if check else 'written'}: configs/{name}" for name in stale) or "nothing to write")
    sys.exit(check and bool(stale))


def generated() -> dict[str, str]:
    """File below configs/ -> text, for every registered component of the project itself."""
    files = {"trainer/trainer.yaml": component_text(TrainerOptions, None)}
    for family in Family.all.values():
        if family in (filters, metrics, loggers):  # their files hold choices of several, each with all of its options
            continue
        for name, component in family.components.items():
            if component.__module__.startswith("seq2seq."):
                files[f"{family.group}/{name}.yaml"] = component_text(component, name)
    return files


def component_text(component: type, name: str | None) -> str:
    """Every option with its default and its comment; `???` where it has to be given."""
    comments = option_comments(component)
    summary = re.sub(r"\s+", " ", (inspect.getdoc(component) or "").partition("\n\n")[0]).replace("`", "")
    lines = [f"# {part}" for part in wrap(summary)]
    lines.append("# Written by scripts/write_configs.py from the class; presets beside it hold differences only.")
    options = options_of(component)
    parts = {option: family for option, details in options.items() if (family := family_of(details.annotation))}
    if parts:
        usual = getattr(component, "usual_parts", {})
        lines.append("defaults:")
        for part, family in parts.items():
            lines.append(f"  - {place_of(part, family)}: {usual.get(part, '???')} # {comments[part]}")
        lines.append("  - _self_")
    if beside := getattr(component, "usual_beside", {}):
        lines += [
            "defaults:",
            "  - _self_",
            *(f"  - override /{group}@_global_.{group}: {choice}" for group, choice in beside.items()),
        ]
    if name is not None:
        lines.append(f"name: {name}")
    for option, details in options.items():
        if option in parts:
            continue
        if option not in comments:
            raise SystemExit(f"{component.__module__}.{component.__name__}: no line on '{option}' under Options:")
        value = "???" if details.default is REQUIRED else yaml_value(details.default)
        lines.append(f"{option}: {value} # {comments[option]}")
    return "\n".join(lines) + "\n"


def place_of(part: str, family: Family[Any]) -> str:
    """What Hydra calls it: most families have the name of the part, others lie elsewhere and are put there."""
    return part if family.group.split("/")[-1] == part else f"/{family.group}@{part}"


def option_comments(component: type) -> dict[str, str]:
    section = (inspect.getdoc(component) or "").partition("Options:\n")[2]
    return dict(re.findall(r"^ +(\w+): (.+)$", section, flags=re.MULTILINE))


def yaml_value(value: Any) -> str:
    """JSON is YAML; plain words need no quotes, but for those such as `no` that YAML takes for something else."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.-]*", value) and yaml.safe_load(value) == value:
        return value
    if isinstance(value, float):
        return re.sub(r"^(\d+)e", r"\1.0e", repr(value))
    return json.dumps(dict(value) if isinstance(value, Mapping) else value)


def wrap(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line


if __name__ == "__main__":
    main()
