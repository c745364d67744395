"""Beam search.

B sources still searched, W hypotheses that go on for each of them (W <= beam_size, 1 at first), N = B x W, those of a
source side by side, C candidates for each source, M hypotheses that finish at one step, T tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from seq2seq.search.base import Hypothesis, Search, given_token, limits, on_device, rows_of, searches
from seq2seq.search.beams import Beams, Candidates, Chooser, Finished, num_possible
from seq2seq.search.groups import Groups
from seq2seq.search.phrases import Spelling, listed_phrases, usual_spellings
from seq2seq.search.required import Required
from seq2seq.search.rules import IMPOSSIBLE, Rules
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab


@searches.register("beam")
class Beam(Search):
    """Keeps the best hypotheses of each length side by side.

    A source's hypothesis finishes where eos is among the beam_size best continuations; a source is done, and leaves the
    batch, with beam_size finished hypotheses or at its limit, where only eos may follow. Pad and bos are never
    generated; their share of the probability is not given to the other tokens. Hypotheses are ranked by
    log-probability / length ** length_penalty, where length counts eos. The model should be in eval mode.

    With groups the beam is shared out among them (Groups), with required phrases among banks (Required).

    Options:
        beam_size: hypotheses kept for each source
        length_penalty: 0 ranks by log-probability, 1 by its mean over tokens; more favours longer ones
        max_length: longest output in tokens, with its prompt; null: 2 x source + 10, or prompt + 100
        nbest: hypotheses returned for each source, at most beam_size
        min_length: shortest output in tokens, with its prompt
        repetition_penalty: above 1 makes tokens less likely that the output has already; 1 changes nothing
        no_repeat_ngram: no so many tokens in a row occur twice in an output; 0: they may
        banned: words or phrases that are never said, as text or as a list of texts
        required: words or phrases that each output has to hold, as text or as a list of texts
        groups: share the beam out among so many groups that choose other tokens than those before them
        diversity: what a token costs for each hypothesis of an earlier group that goes on with it, in nats
    """

    def __init__(
        self,
        *,
        beam_size: PositiveInt = 5,
        length_penalty: NonNegativeFloat = 1.0,
        max_length: PositiveInt | None = None,
        nbest: PositiveInt = 1,
        min_length: NonNegativeInt = 0,
        repetition_penalty: PositiveFloat = 1.0,
        no_repeat_ngram: NonNegativeInt = 0,
        banned: str | list[str] | None = None,
        required: str | list[str] | None = None,
        groups: PositiveInt = 1,
        diversity: NonNegativeFloat = 0.0,
    ) -> None:
        if nbest > beam_size:
            raise ValueError(f"nbest is {nbest}: must be at most beam_size, which is {beam_size}")
        if groups > beam_size:
            raise ValueError(f"groups is {groups}: must be at most beam_size, which is {beam_size}")
        if (groups > 1) != (diversity > 0):
            raise ValueError("groups and diversity have no effect without each other: set groups=4 and diversity=0.5")
        if groups > 1 and required:
            raise ValueError("required and groups are two ways to share out the beam: set one of them")
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.max_length = max_length
        self.nbest = nbest
        self.groups = groups
        self.diversity = diversity
        self.required = listed_phrases(required)
        for phrase in self.required:
            if clash := [word for word in listed_phrases(banned) if word in phrase]:
                raise ValueError(f"required: {phrase!r} holds {clash[0]!r}, which is banned")
        self.rules = Rules(
            max_length=max_length,
            min_length=min_length,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            banned=banned,
        )
        self._spellings: list[list[Spelling]] | None = None if self.required else []

    def learn(self, tokenizer: Tokenizer) -> None:
        self.rules.learn(tokenizer)
        self.require(usual_spellings(tokenizer, f"{searches.group}.required", self.required))

    def require(self, phrases: list[list[Spelling]]) -> None:
        """Of each phrase its spellings, in the place of `required`."""
        self._spellings = phrases

    @torch.no_grad()
    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        prompts = prompts or [()] * mask.size(0)
        longest = limits(model, mask, prompts, self.max_length, self.rules.min_length)
        if not longest:
            return []
        finished = Finished(len(longest))
        beams = Beams.start(len(longest), source.device)
        chooser = self._chooser(len(longest))
        prompt_lengths = [len(prompt) for prompt in prompts]
        of_prompts = torch.zeros(len(longest), device=source.device)
        state = model.start(source, mask, max(longest) + 1)  # one step more than tokens, for eos
        for length in range(max(longest) + 1):
            if 0 < length in prompt_lengths:
                begun = [row for row, place in enumerate(beams.sources) if prompt_lengths[place] == length]
                of_prompts[[beams.sources[row] for row in begun]] = beams.log_probabilities[begun].amax(dim=1)
            logits, state = model.step(beams.tokens[:, :, -1].flatten(), state)
            logits = logits.view(*beams.log_probabilities.shape, -1)  # (B,W,V)
            at_limit = [longest[place] == length for place in beams.sources]
            only = [given_token(length, prompts[place], longest[place]) for place in beams.sources]
            if chooser is None:
                candidates = beams.candidates(logits, only, 2 * self.beam_size, self.rules, alone=self.beam_size == 1)
            else:
                candidates = chooser.candidates(beams, logits, only, finished)
            self._finish(beams, candidates, finished)  # the one place of a step that waits for the device

            rows = [
                row
                for row, place in enumerate(beams.sources)
                if finished.counts[place] < self.beam_size and not at_limit[row]
            ]
            if not rows:
                break
            if len(rows) < len(beams.sources):
                index = on_device(torch.tensor(rows), source.device)
                state, beams, candidates = state.select(index), beams.select(index, rows), candidates.take(0, index)
            width = beams.tokens.size(1)
            if chooser is None:
                candidates = self._continuing(candidates, num_possible(only, width, logits.size(2)))
            else:
                candidates = candidates.after(self.beam_size)
            beams = beams.advance(candidates)
            if max(width, beams.tokens.size(1)) > 1:
                state = state.reorder(rows_of(candidates.parents, width))
        return finished.best(self.nbest, self.length_penalty, prompt_lengths, of_prompts)

    def _chooser(self, num_sources: int) -> Chooser | None:
        """None for the best."""
        if self._spellings is None:
            raise ValueError("required phrases are text: learn(tokenizer) has to be called before the search")
        if self._spellings:
            return Required(self._spellings, self.beam_size, self.rules)
        if self.groups > 1:
            return Groups(num_sources, self.beam_size, self.groups, self.diversity, self.rules)
        return None

    def _finish(self, beams: Beams, candidates: Candidates, finished: Finished) -> None:
        """Takes over those of the beam_size best candidates that end."""
        ends = (candidates.tokens == Vocab.eos) & (candidates.log_probabilities > IMPOSSIBLE)
        rows, ranks = ends[:, : self.beam_size].cpu().numpy().nonzero()
        if len(rows) == 0:
            return
        device = ends.device
        row_index, rank_index = (on_device(torch.from_numpy(values), device) for values in (rows, ranks))
        tokens = beams.tokens[row_index, candidates.parents[row_index, rank_index], 1:]  # (M,T)
        finished.add([beams.sources[row] for row in rows], tokens, candidates.log_probabilities[row_index, rank_index])

    def _continuing(self, candidates: Candidates, possible: int) -> Candidates:
        """The best of those that do not end, (B,W'): beam_size, or what there is."""
        ends_last = (candidates.tokens == Vocab.eos).byte().argsort(dim=1, stable=True)
        return candidates.take(1, ends_last[:, : min(self.beam_size, possible)])
