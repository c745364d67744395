"""Sampling.

B sources still sampled, W samples of each that go on, N = B x W, those of a source side by side, T tokens so far,
V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor

from seq2seq.models.base import Model
from seq2seq.registry import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from seq2seq.search.base import Hypothesis, Search, given_token, limits, on_device, rows_of, searches
from seq2seq.search.rules import IMPOSSIBLE, Rules
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

OVER = -1
SEVERAL = 128  # tokens
Share = Annotated[float, Gt(0), Le(1)]


@searches.register("sampling")
class Sampling(Search):
    """Draws outputs at random, by the model's probabilities or by those of its most probable tokens.

    What is drawn depends on the seed, the source and the number of the sample, not on other sources; the samples of a
    source are independent of each other, and given the most probable first, by the mean log-probability of their
    tokens. The rules come first, then temperature and the truncations in the order below: top_k, top_p (Holtzman et al.
    2020, arXiv:1904.09751), min_p (Nguyen et al. 2024, arXiv:2407.01082), typical_p (Meister et al. 2023,
    arXiv:2202.00666).

    Options:
        temperature: logits are divided by it; below 1 likely tokens become likelier, above 1 less likely
        top_k: draw from so many most probable tokens; null: from all
        top_p: from the fewest tokens that have this probability together; 1: from all
        min_p: from tokens with this share of the highest probability; 0: from all
        typical_p: from the tokens nearest to the expected information that have this probability together; 1: from all
        nbest: samples of each source
        seed: another one gives other samples
        max_length: longest output in tokens, with its prompt; null: 2 x source + 10, or prompt + 100
        min_length: shortest output in tokens, with its prompt
        repetition_penalty: above 1 makes tokens less likely that the output has already; 1 changes nothing
        no_repeat_ngram: no so many tokens in a row occur twice in an output; 0: they may
        banned: words or phrases that are never said, as text or as a list of texts
        required: of search=beam only
    """

    def __init__(
        self,
        *,
        temperature: PositiveFloat = 1.0,
        top_k: PositiveInt | None = None,
        top_p: Share = 1.0,
        min_p: Probability = 0.0,
        typical_p: Share = 1.0,
        nbest: PositiveInt = 1,
        seed: NonNegativeInt = 0,
        max_length: PositiveInt | None = None,
        min_length: NonNegativeInt = 0,
        repetition_penalty: PositiveFloat = 1.0,
        no_repeat_ngram: NonNegativeInt = 0,
        banned: str | list[str] | None = None,
        required: str | list[str] | None = None,
    ) -> None:
        if required:
            raise ValueError("required has no effect on samples: set search=beam")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p
        self.typical_p = typical_p
        self.nbest = nbest
        self.seed = seed
        self.max_length = max_length
        self.rules = Rules(
            max_length=max_length,
            min_length=min_length,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            banned=banned,
        )

    def learn(self, tokenizer: Tokenizer) -> None:
        self.rules.learn(tokenizer)

    @torch.no_grad()
    def __call__(
        self, model: Model, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]] | None = None
    ) -> list[list[Hypothesis]]:
        prompts = prompts or [()] * mask.size(0)
        longest = limits(model, mask, prompts, self.max_length, self.rules.min_length)
        if not longest:
            return []
        uniform = self._uniform(source, mask, prompts, max(longest) + 1)
        finished = Finished(prompts)
        samples = Samples.start(len(longest), source.device)
        state = model.start(source, mask, max(longest) + 1)  # one step more than tokens, for eos
        for length in range(max(longest) + 1):
            logits, state = model.step(samples.tokens[:, :, -1].flatten(), state)
            logits = logits.view(*samples.numbers.shape, -1)  # (B,W,V)
            only = [given_token(length, prompts[place], longest[place]) for place in samples.sources]
            if not samples.begun and finished.lengths.min() <= length:
                samples = samples.begin(self.nbest)
                state = state.reorder(samples.rows())
                logits = logits.expand(-1, self.nbest, -1)
            numbers = uniform[samples.sources[:, None], samples.numbers, length]
            drawn = self._draw(logits, samples.tokens, only, torch.from_numpy(numbers))
            samples = samples.advance(drawn, log_probabilities(logits, drawn), finished.lengths > length)
            going = finished.take(samples, drawn)
            rows = np.flatnonzero(going.any(axis=1))
            if not len(rows):
                break
            if len(rows) < len(going):
                index = on_device(torch.from_numpy(rows), source.device)
                state, samples = state.select(index), samples.select(index, rows)
                going = going[rows]
            if not going.all():
                width = int(going.sum(axis=1).max())
                order = np.argsort(~going, axis=1, kind="stable")[:, :width]  # (B,W'), those that go on first
                index = on_device(torch.from_numpy(order), source.device)
                state = state.reorder(rows_of(index, going.shape[1]))
                samples = samples.take(index, order, going)
        return finished.best()

    def _uniform(self, source: Tensor, mask: Tensor, prompts: Sequence[Sequence[int]], steps: int) -> np.ndarray:
        """Numbers from 0 to below 1, (B,nbest,steps): of a source the same in every batch, however many the steps."""
        result = np.empty((len(prompts), self.nbest, steps))
        for row, (tokens, real, prompt) in enumerate(zip(source.cpu(), mask.cpu(), prompts, strict=True)):
            held = tokens[real].tolist()
            content = np.array([self.seed, len(held), *held, *prompt], dtype="<i8").tobytes()
            key = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), dtype="<u8")
            for number in range(self.nbest):
                bits = np.random.Philox(key=key, counter=[0, 0, number, 0]).random_raw(steps)
                result[row, number] = (bits >> np.uint64(11)) * 2.0**-53
        return result

    def _draw(self, logits: Tensor, tokens: Tensor, only: Sequence[int | None], uniform: Tensor) -> Tensor:
        """logits (B,W,V), tokens (B,W,T) so far, uniform (B,W) -> the next tokens (B,W)."""
        of_each = [token for token in only for _ in range(logits.size(1))]
        rows, said = logits.flatten(0, 1)[:, None], tokens.flatten(0, 1)[:, None]  # (N,1,V), (N,1,T)
        going = torch.ones(len(rows), 1, dtype=torch.bool, device=logits.device)
        allowed = self.rules.log_probabilities(rows, said, of_each, going, alone=True).view_as(logits)
        probabilities = self.truncated(allowed.double()).softmax(dim=-1)
        cumulative = probabilities.cumsum(dim=-1)
        whole = cumulative[..., -1:]
        place = torch.minimum(
            on_device(uniform, logits.device)[..., None] * whole, whole.nextafter(torch.zeros_like(whole))
        )
        return torch.searchsorted(cumulative, place, right=True)[..., 0].clamp(max=logits.size(-1) - 1)

    def truncated(self, scores: Tensor) -> Tensor:
        """Log-probabilities (...,V), normalized or not -> those that are drawn from, -inf where a token is left out."""
        scores = scores / self.temperature
        if self.top_k is not None and self.top_k < scores.size(-1):
            scores = scores.masked_fill(scores < scores.topk(self.top_k, dim=-1).values[..., -1:], IMPOSSIBLE)
        if self.top_p < 1:
            scores = self._nucleus(scores)
        if self.min_p > 0:
            probabilities = scores.softmax(dim=-1)
            scores = scores.masked_fill(probabilities < self.min_p * probabilities.amax(-1, keepdim=True), IMPOSSIBLE)
        return self._typical(scores) if self.typical_p < 1 else scores

    def _nucleus(self, scores: Tensor) -> Tensor:
        """Keeps the most probable tokens, before each of which there is less than top_p, and their equals."""
        probabilities = scores.softmax(dim=-1)
        best = probabilities.topk(min(SEVERAL, probabilities.size(-1)), dim=-1).values
        if not (best.sum(dim=-1) >= self.top_p).all():  # mostly those hold enough, and not all have to be sorted
            best = probabilities.sort(dim=-1, descending=True).values
        reached = best.cumsum(dim=-1)
        num_kept = (reached - best < self.top_p).sum(dim=-1, keepdim=True)
        least = best.gather(-1, (num_kept - 1).clamp(min=0))
        return scores.masked_fill(probabilities < least, IMPOSSIBLE)

    def _typical(self, scores: Tensor) -> Tensor:
        values = scores.log_softmax(dim=-1)
        entropy = torch.special.entr(values.exp()).sum(dim=-1, keepdim=True)
        distances, places = (-values - entropy).abs().sort(dim=-1)
        reached = values.gather(-1, places).exp().cumsum(dim=-1) < self.typical_p
        last = reached.sum(dim=-1, keepdim=True).clamp(max=scores.size(-1) - 1)
        left_out = distances > distances.gather(-1, last)
        return scores.masked_fill(left_out.scatter(-1, places, left_out), IMPOSSIBLE)


@dataclass(frozen=True)
class Samples:
    """Those that go on, and for sources with fewer than others some that are over.

    sources: the place in the batch of each. numbers (B,W): which of the source's samples, OVER for what is over.
    tokens (B,W,T), from bos on. totals, of_prompts (B,W): log-probabilities. begun: whether there is more than one of a
    source, which is so after its prompt.
    """

    sources: np.ndarray
    numbers: np.ndarray
    tokens: Tensor
    totals: Tensor
    of_prompts: Tensor
    begun: bool = False

    @classmethod
    def start(cls, num_sources: int, device: torch.device) -> Samples:
        tokens = torch.full((num_sources, 1, 1), Vocab.bos, device=device)
        zeros = torch.zeros(num_sources, 1, device=device)
        return cls(np.arange(num_sources), np.zeros((num_sources, 1), dtype=np.int64), tokens, zeros, zeros)

    def begin(self, nbest: int) -> Samples:
        """Each source's one becomes nbest."""
        tokens, totals, of_prompts = (
            x.repeat_interleave(nbest, dim=1) for x in (self.tokens, self.totals, self.of_prompts)
        )
        numbers = np.tile(np.arange(nbest), (len(self.sources), 1))
        return Samples(self.sources, numbers, tokens, totals, of_prompts, begun=True)

    def rows(self) -> Tensor:
        """What becomes nbest, as an index of rows."""
        rows = torch.arange(len(self.sources), device=self.tokens.device)
        return rows.repeat_interleave(self.numbers.shape[1])

    def advance(self, drawn: Tensor, values: Tensor, in_prompt: np.ndarray) -> Samples:
        """One token more, drawn (B,W) with its log-probabilities; in_prompt: for each source of the batch."""
        given = on_device(torch.from_numpy(in_prompt[self.sources]), values.device)[:, None]
        return replace(
            self,
            tokens=torch.cat((self.tokens, drawn[:, :, None]), dim=2),
            totals=self.totals + values,
            of_prompts=self.of_prompts + torch.where(given, values, 0.0),
        )

    def select(self, index: Tensor, rows: np.ndarray) -> Samples:
        """Keeps the sources in these rows; index (B',) holds the same rows."""
        tokens, totals, of_prompts = (x[index] for x in (self.tokens, self.totals, self.of_prompts))
        return Samples(self.sources[rows], self.numbers[rows], tokens, totals, of_prompts, begun=self.begun)

    def take(self, index: Tensor, order: np.ndarray, going: np.ndarray) -> Samples:
        """Keeps of each source those in order (B,W'); index holds the same. going (B,W): which are not over."""
        numbers = np.take_along_axis(np.where(going, self.numbers, OVER), order, axis=1)
        tokens = self.tokens.gather(1, index[:, :, None].expand(-1, -1, self.tokens.size(2)))
        totals, of_prompts = (x.gather(1, index) for x in (self.totals, self.of_prompts))
        return Samples(self.sources, numbers, tokens, totals, of_prompts, begun=self.begun)


class Finished:
    """The finished samples of each source. lengths: of the prompts, in tokens."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self.lengths = np.array([len(prompt) for prompt in prompts])
        self._found: list[list[tuple[int, Hypothesis]]] = [[] for _ in prompts]

    def take(self, samples: Samples, drawn: Tensor) -> np.ndarray:
        """Takes over those that have just ended. Returns which go on, (B,W)."""
        real = samples.numbers != OVER
        ended: np.ndarray = (drawn == Vocab.eos).cpu().numpy() & real
        rows, columns = ended.nonzero()
        index = tuple(on_device(torch.from_numpy(values), drawn.device) for values in (rows, columns))
        lines = samples.tokens[index][:, 1:-1].tolist()
        values = zip(samples.totals[index].tolist(), samples.of_prompts[index].tolist(), strict=True)
        for row, column, line, (total, before) in zip(rows, columns, lines, values, strict=True):
            place = samples.sources[row]
            score = (total - before) / (len(line) + 1 - int(self.lengths[place]))
            self._found[place].append((int(samples.numbers[row, column]), Hypothesis(line, total, score)))
        going: np.ndarray = real & ~ended
        return going

    def best(self) -> list[list[Hypothesis]]:
        """Of each source; an empty, impossible one where none was found, as for a model that gives only nan."""
        nothing = Hypothesis([], IMPOSSIBLE, IMPOSSIBLE)
        result = []
        for found in self._found:
            possible = [(-sample.score, number, sample) for number, sample in found if sample.score > IMPOSSIBLE]
            result.append([sample for _, _, sample in sorted(possible, key=lambda entry: entry[:2])] or [nothing])
        return result


def log_probabilities(logits: Tensor, tokens: Tensor) -> Tensor:
    """logits (B,W,V), tokens (B,W) -> what the model gives each, (B,W)."""
    logits = logits.float()
    return logits.gather(2, tokens[:, :, None])[..., 0] - logits.logsumexp(dim=2)
