"""A bare script around CTranslate2 and sentencepiece: lines in, lines out, and nothing else.

    python -P -m peers.bare_ctranslate2 FILE

The file names the folder of the model, the files of the sentencepiece models, those of the lines, and the settings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ctranslate2 import Translator
from sentencepiece import SentencePieceProcessor


def main() -> None:
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source, target = (SentencePieceProcessor(model_file=work[f"{side}_pieces"]) for side in ("source", "target"))
    translator = Translator(
        work["model"],
        device="cpu",
        compute_type=work["compute_type"],
        inter_threads=work["inter_threads"],
        intra_threads=work["intra_threads"],
    )
    lines = Path(work["lines"]).read_text(encoding="utf-8").split("\n")[:-1]
    results = translator.translate_batch(
        source.encode(lines, out_type=str, num_threads=work["threads"]),
        beam_size=work["beam_size"],
        max_batch_size=work["max_tokens"],
        batch_type="tokens",
    )
    outputs = target.decode([result.hypotheses[0] for result in results])
    Path(work["translations"]).write_text("".join(f"{output}\n" for output in outputs), encoding="utf-8")
    Path(work["output"]).write_text(json.dumps({"lines": len(outputs)}), encoding="utf-8")


if __name__ == "__main__":
    main()
