"""What --help prints; made without importing torch, so that it is there at once."""

import textwrap

from seq2seq.cli.overrides import config_folder, groups

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
  seq2seq-train task=summarization data=cnn_dailymail
                                           summaries; see also task=dialogue and
                                           task=generation
  seq2seq-train -m model=lstm_tiny,transformer_tiny optimizer.lr=1e-3,5e-4
                                           a sweep: four runs, side by side with
                                           hydra/launcher=joblib
  seq2seq-train sweep=learning_rate        a search for the best rate, by Optuna
"""

TRAIN_END = """\
keys that are often set
  run=DIR                  the run; typed alone, it continues an earlier one
  data.train=PREFIX        reads PREFIX.<data.source> and PREFIX.<data.target>
                           (.gz too)
  trainer.max_steps=N      trainer.max_tokens=N    trainer.validate_every=N
  optimizer.lr=X           trainer.precision=bf16  trainer.device=cpu
  metrics.rouge={}         also measures it        trainer.metric=rougeL
  loggers.wandb={}         numbers go to Weights & Biases, too, or to mlflow
  trainer.devices=N        N processes on this machine, a GPU each
  plugins=[MODULE]         modules of your own with components in them

  seq2seq-train --cfg job                  every key with its value
  seq2seq-train --config-dir DIR ...       your own YAML files beside ours
"""

EVALUATE = """\
seq2seq-evaluate: how good a run's model is on a split, or on a pair of files,
or several runs beside each other

usage: seq2seq-evaluate run=DIR [KEY=VALUE ...]
       seq2seq-evaluate 'run=[DIR,DIR]' [KEY=VALUE ...]

examples
  seq2seq-evaluate run=runs/mine                              the test split
  seq2seq-evaluate run=runs/mine split=validation checkpoint=average
  seq2seq-evaluate run=runs/mine source=news.en target=news.de
  seq2seq-evaluate 'run=runs/sweep/*' table=results.md        a table of all
  seq2seq-evaluate 'run=[runs/a,runs/b]' baseline=runs/a      is b better?

keys
  run=DIR              the run directory; of several a list or a pattern, whose
                       other folders are passed over
  model=pretrained model.path=ID  instead: a model as others have trained it,
                       a hub id or a folder; run then says where a small run
                       for it lies, runs/<last part of the path> by itself
  model.path=DIR       with run: where the model of an adapter lies by now
  split=NAME           train, validation or test (the default)
  source=F target=F    files instead of a split; a language model has no source
  tag=TAG              with files: a tag of the run's data, before each source
  checkpoint=WHICH     best (the default), last, average, step_00001000, a path
  metrics=NAME         other scores than the run's own: translation, dialogue,
                       summarization, generation or none
  metrics.*            a change: metrics.bleu.tokenize=zh, metrics.rouge={},
                       metrics.ter=null
  search.*, data.*     anything that should differ from what the run stored;
                       data=NAME, search=NAME: another one
  backend=NAME         auto (the default), torch or ctranslate2; see
                       seq2seq-translate --help
  max_tokens=N  device=D  precision=P  threads=N
  plugins=[MODULE]     modules of your own that the run's components are in

keys for several runs
  baseline=DIR         one of them: p-values of the others' differences to it in
                       BLEU, chrF and TER
  table=FILE           also writes the table, as its ending says: .md, .csv (a
                       row a run) or .json (all that is known); one or a list
  report=DIR           also makes a page of it, DIR/report.html: curves,
                       settings, sentences; pip install 'seq2seq[report]'
  again=true           measures those again, too, that have scores of the same
                       weights, examples, search and metrics

Scores go to stdout and, with the translations, to DIR/evaluation/<split>/, of
another checkpoint than the best to DIR/evaluation/<split>-<checkpoint>/.
"""

TRANSLATE = """\
seq2seq-translate: translate lines with a run's model, or continue them with a
language model

usage: seq2seq-translate run=DIR [KEY=VALUE ...]

examples
  seq2seq-translate run=runs/mine input=in.txt output=out.txt
  cat in.txt | seq2seq-translate run=runs/mine > out.txt
  seq2seq-translate run=runs/mine input=in.txt search.nbest=5
  seq2seq-translate run=runs/de-en data=jsonl 'data.train=mono/*.jsonl.gz' \\
                    data.source=null data.target=de split=train \\
                    output=back.en copy=back.de
                                           back-translation: text alone to pairs

keys
  run=DIR              the run directory
  model=pretrained model.path=ID  instead: a model as others have trained it,
                       a hub id or a folder; run then says where a small run
                       for it lies, runs/<last part of the path> by itself
  model.path=DIR       with run: where the model of an adapter lies by now
  input=FILE           default: stdin (line by line where a person types)
  split=NAME           instead of input: train, validation or test; the sources
                       of its examples, or of text alone the text
  data=NAME  data.*    for split: anything that should differ from what the run
                       stored; the run needs no such data
  output=FILE          default: stdout
  copy=FILE            also writes what was read, a line for each line that is
                       translated: with output, the two sides of a corpus
  tag=TAG              a tag of the run's data, put before each line, and each
                       part of one that is too long
                       (of a dialogue, a line is all that was said before the
                       answer: turn <turn> turn)
  resume=true          continues an output that an earlier start of the same
                       command left, after its last whole line
  attention=FILE       also writes alignments, a line for each translation:
                       0-0 1-2 ..., the source word that each target word read
                       most of; words are what whitespace divides, from 0.
                       FILE.jsonl: the tokens of both sides and all weights.
                       Of all that the model reads and writes: tag is word 0
  checkpoint=WHICH     best (the default), last, average, or a path
  search=NAME          beam, greedy or sampling
  search.beam_size=N  search.length_penalty=X  search.max_length=N
  search.min_length=N  search.repetition_penalty=X  search.no_repeat_ngram=N
  search.banned=TEXT   words or phrases that are never said, one or a list
  search.required=TEXT words or phrases that each output holds (beam)
  search.groups=N  search.diversity=X  search.temperature=X  search.top_p=X ...
                       all of them: seq2seq-train --cfg job search=NAME
  search.nbest=N       up to N lines for each:
                       number from 0 ||| translation ||| score
  backend=NAME         auto (the default): CTranslate2 where it is installed and
                       has a place for the run's model, else torch; or torch,
                       or ctranslate2
  precision=P          fp32 (the default), bf16, auto, int8 (by torch on x86
                       processors only)
  threads=N            default: all cores
  max_tokens=N         of a batch; default: 8192, with CTranslate2 on a CPU 2048
  device=D             auto (the default), cpu, cuda
  plugins=[MODULE]     modules of your own that the run's components are in

Without search.nbest, exactly one line out for each line in, in the same order.
"""

EXPORT = """\
seq2seq-export: a run's model for another engine

usage: seq2seq-export run=DIR to=FORMAT output=DIR [KEY=VALUE ...]

examples
  seq2seq-export run=runs/mine to=ctranslate2 output=mine-ct2
  seq2seq-export run=runs/mine to=ctranslate2 output=mine-int8 quantization=int8
  seq2seq-export run=runs/mine to=huggingface output=mine-hf
  seq2seq-export run=runs/mine to=safetensors output=mine checkpoint=average

keys
  run=DIR              the run directory
  to=FORMAT            ctranslate2, which takes encoder-decoder Transformers;
                       huggingface (transformers 5 and newer), which takes them
                       and pretrained models; or safetensors, any weights
  output=DIR           the folder to be made
  checkpoint=WHICH     best (the default), last, average, or a path
  model.path=DIR       where the model of an adapter lies by now
  input=FILE           lines for the comparison; default: the run's test split,
                       or its validation split
  quantization=FORMAT  of the weights, with to=ctranslate2: float32 (the
                       default), bfloat16, float16, int8, int8_float32,
                       int8_bfloat16, int8_float16, int16
  threads=N
  plugins=[MODULE]     modules of your own that the run's components are in

The same 100 sentences are translated by both, and the share of equal tokens is
printed; with to=huggingface where transformers is installed, and not of a
pretrained model, which goes back into what it came from.
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
