"""What --help prints; made without importing torch, so that it is there at once."""

import textwrap

from seq2seq.cli.entry import config_folder, groups

TRAIN = """\
seq2seq-train: train a sequence-to-sequence model, or continue a run

usage: seq2seq-train [GROUP=CHOICE ...] [KEY=VALUE ...]

examples
  seq2seq-train                            the embedded demo, one to two minutes
  seq2seq-train model=transformer data=text_files data.source=en \\
                data.target=de data.train=corpus/train \\
                data.validation=corpus/val run=runs/mine
  seq2seq-train model=decoder_only data=text_files data.source=null \\
                data.target=de data.train=corpus/train run=runs/lm
                                           a language model, of one side alone
  seq2seq-train -m model=lstm_tiny,transformer_tiny optimizer.lr=1e-3,5e-4
                                           a sweep: four runs
"""

TRAIN_END = """\
keys that are often set
  run=DIR                  the run; the same command again continues it
  data.train=PREFIX        reads PREFIX.<data.source> and PREFIX.<data.target>
                           (.gz too)
  trainer.max_steps=N      trainer.max_tokens=N    trainer.validate_every=N
  optimizer.lr=X           trainer.precision=bf16  trainer.device=cpu
  trainer.devices=N        N processes on this machine, a GPU each

  seq2seq-train --cfg job                  every key with its value
  seq2seq-train --config-dir DIR ...       your own YAML files beside ours
"""

EVALUATE = """\
seq2seq-evaluate: how good a run's model is on a split, or on a pair of files

usage: seq2seq-evaluate run=DIR [KEY=VALUE ...]

examples
  seq2seq-evaluate run=runs/mine                              the test split
  seq2seq-evaluate run=runs/mine split=validation checkpoint=average
  seq2seq-evaluate run=runs/mine source=news.en target=news.de

keys
  run=DIR              the run directory
  split=NAME           train, validation or test (the default)
  source=F target=F    files instead of a split; a language model has no source
  checkpoint=WHICH     best (the default), last, average, step_00001000, a path
  tokenize=NAME        BLEU's tokenizer; follows the target language by default
  search.*, data.*     anything that should differ from what the run stored
  max_tokens=N  device=D  precision=P

Scores go to stdout and, with the translations, to DIR/evaluation/<split>/.
"""

TRANSLATE = """\
seq2seq-translate: translate lines with a run's model, or continue them with a
language model

usage: seq2seq-translate run=DIR [KEY=VALUE ...]

examples
  seq2seq-translate run=runs/mine input=in.txt output=out.txt
  cat in.txt | seq2seq-translate run=runs/mine > out.txt
  seq2seq-translate run=runs/mine input=in.txt search.nbest=5

keys
  run=DIR              the run directory
  input=FILE           default: stdin (line by line where a person types)
  output=FILE          default: stdout
  attention=FILE       also writes alignments, a line for each translation:
                       0-0 1-2 ..., the source word that each target word read
                       most of; words are what whitespace divides, from 0.
                       FILE.jsonl: the tokens of both sides and all weights
  checkpoint=WHICH     best (the default), last, average, or a path
  search.beam_size=N  search.length_penalty=X  search.max_length=N
  search.nbest=N       up to N lines for each:
                       number from 0 ||| translation ||| score
  max_tokens=N  device=D  precision=P

Without search.nbest, exactly one line out for each line in, in the same order.
"""


def train_help() -> str:
    """With the groups and the choices in each."""
    lines = ["groups and their choices"]
    for group, choices in groups([config_folder()]).items():
        if group.startswith("recipe/"):  # they go with other choices by themselves
            continue
        label = f"  {group}="
        wrapped = textwrap.wrap(", ".join(choices), 76 - 18)
        lines += [f"{label if i == 0 else '':<18}{text}" for i, text in enumerate(wrapped)]
    return "\n".join([TRAIN, *lines, "", TRAIN_END.rstrip()])
