import contextlib
import logging

import pytest
import torch

from seq2seq.data.reading import Reading
from seq2seq.search.base import Hypothesis, Search
from seq2seq.search.beam import Beam
from seq2seq.search.translator import Interrupted, Translation, Translator, cutting_place
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.text.vocab import Vocab

CPU = torch.device("cpu")


class Letters(Tokenizer):
    """One token for each letter a to z, the rest of the text is left out; `space` keeps whitespace as a token."""

    shared = True

    def __init__(self, space=False):
        self.letters = "abcdefghijklmnopqrstuvwxyz.!?" + (" " if space else "")
        self.vocab = Vocab((*Vocab.special, *self.letters))

    def encode(self, text):
        return [self.letters.index(letter) + 4 for letter in text if letter in self.letters]

    def decode(self, ids):
        return "".join(self.letters[i - 4] for i in ids if i >= 4)

    def train(self, lines): ...
    def save(self, folder): ...
    @classmethod
    def load(cls, folder): ...


class Echo(Search):
    """Gives back the source, then the source reversed; keeps the shapes that it saw."""

    def __init__(self):
        self.shapes = []
        self.inference = []

    def __call__(self, model, source, mask, prompts=None):
        if prompts is not None:
            self.shapes.append((len(prompts), max(map(len, prompts))))
            return [[Hypothesis([*prompt, 4, 5], -1.0, -1.0)] for prompt in prompts]
        self.shapes.append(tuple(source.shape))
        self.inference.append(not torch.is_grad_enabled() and not model.training)
        found = []
        for row, real in zip(source, mask, strict=True):
            assert row[real][-1] == Vocab.eos
            tokens = row[real][:-1].tolist()
            found.append([Hypothesis(tokens, -1.0, -1.0), Hypothesis(tokens[::-1], -2.5, -2.5)])
        return found


@pytest.fixture(autouse=True)
def one_batch_at_a_time(monkeypatch):
    """So that what is recorded has an order."""
    monkeypatch.setattr("seq2seq.search.backend.MOST_AT_A_TIME", 1)


@pytest.fixture
def make_translator(make_model):
    def make(search=None, *, tokenizer=None, max_tokens=24, max_length=11, **options):
        tokenizer = tokenizer or Letters()
        model = make_model(vocab_size=len(tokenizer.vocab))
        parts = (model, tokenizer, tokenizer, search or Echo())
        return Translator(*parts, max_tokens=max_tokens, max_length=max_length, device=CPU, **options)

    return make


def texts(translations):
    return [[translation.text for translation in of_line] for of_line in translations]


def test_lines_come_back_in_order(make_translator):
    lines = ["abc", "d", "efghij", "kl", "mnopqrs", "t"]
    assert texts(make_translator().translate(lines)) == [[line, line[::-1]] for line in lines]
    assert make_translator().translate(["ab"]) == [[Translation("ab", -1.0), Translation("ba", -2.5)]]


def test_empty_lines_never_reach_the_model(make_translator):
    search = Echo()
    nothing = [Translation("", 0.0)]
    found = make_translator(search).translate(["", "ab", " \t ", "\n", "12"])
    assert [found[0], *found[2:]] == [nothing] * 4
    assert search.shapes == [(1, 3)]
    assert make_translator(search).translate([""]) == [nothing]
    assert make_translator(search).translate([]) == []
    assert len(search.shapes) == 1


def test_batches_keep_to_the_budget_and_hold_similar_lengths(make_translator):
    search = Echo()
    make_translator(search, max_tokens=12).translate(["a", "bbbbb", "c", "dddddddd", "ee", "fffff"])
    assert search.shapes == [(1, 9), (2, 6), (3, 3)]


def test_a_line_longer_than_the_budget_has_a_batch_of_its_own(make_translator):
    search = Echo()
    make_translator(search, max_tokens=3).translate(["aaaa", "bbb"])
    assert search.shapes == [(1, 5), (1, 4)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_lines_change_nothing(make_model, make_translator, seed):
    letters = "abcdefghijklmnopqrstuvwxyz"
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 25, (17,), generator=generator).tolist()
    lines = ["".join(letters[i] for i in torch.randint(0, 26, (n,), generator=generator).tolist()) for n in lengths]
    translator = make_translator(Beam(beam_size=3, nbest=2, max_length=4), max_tokens=40, max_length=13)
    together = translator.translate(lines)
    assert len(together) == len(lines)
    for line, found in zip(lines, together, strict=True):
        [alone] = translator.translate([line])
        assert [t.text for t in found] == [t.text for t in alone]
        assert [t.score for t in found] == pytest.approx([t.score for t in alone], abs=1e-5)


def test_a_long_line_is_cut_translated_and_joined(make_translator, caplog):
    search = Echo()
    with caplog.at_level(logging.WARNING):
        found = make_translator(search, max_length=4).translate(["ab", "abc defg hi"], first_line=70)
    assert found[1] == [Translation("abc defg hi", -3.0), Translation("cba gfed ih", -7.5)]
    assert [record.getMessage() for record in caplog.records] == [
        "line 71 has 9 tokens, more than 4: translated in 3 parts"
    ]
    assert max(width for _, width in search.shapes) <= 4 + 1


def test_a_line_of_exactly_the_longest_length_is_not_cut(make_translator, caplog):
    assert texts(make_translator(max_length=4).translate(["abcd"])) == [["abcd", "dcba"]]
    assert not caplog.records


def test_a_tag_before_each_line_that_has_text(make_translator):
    search = Echo()
    found = make_translator(search, tokenizer=Letters(space=True), tag="z").translate(["ab", "", "  ", " c"])
    assert [of_line[0].text for of_line in found] == ["z ab", "", "", "z  c"]
    assert search.shapes == [(2, 5)]


@pytest.mark.parametrize("space", [False, True])
def test_a_tag_alone_is_not_translated(make_translator, space):
    search = Echo()
    found = make_translator(search, tokenizer=Letters(space), tag="z", max_length=4).translate(["12", "123456"])
    assert found == [[Translation("", 0.0)]] * 2
    assert not search.shapes


def test_a_tag_before_each_part_of_a_line(make_translator, caplog):
    search = Echo()
    with caplog.at_level(logging.WARNING):
        found = make_translator(search, tokenizer=Letters(space=True), max_length=6, tag="z").translate(["abc defg hi"])
    assert found[0][0].text == "z abc z defg z hi"
    assert [record.getMessage() for record in caplog.records] == [
        "line 1 has 13 tokens, more than 6: translated in 3 parts"
    ]
    assert max(width for _, width in search.shapes) <= 6 + 1


def test_a_line_that_is_too_long_by_its_tag_is_cut(make_translator):
    translator = make_translator(max_length=4, tag="z")
    assert [t.text for [t, _] in translator.translate(["abc", "abcd"])] == ["zabc", "zab zcd"]


def test_a_template_around_each_line_and_each_part(make_translator):
    reading = Reading("do {source}.")
    found = make_translator(tokenizer=Letters(space=True), max_length=8, reading=reading).translate(
        ["ab", "", "abc def"]
    )
    assert [of_line[0].text for of_line in found] == ["do ab.", "", "do abc. do def."]
    tagged = make_translator(tokenizer=Letters(space=True), reading=reading, tag="z")
    assert [of_line[0].text for of_line in tagged.translate(["ab", "12"])] == ["do z ab.", ""]
    assert tagged.reads("ab") == "do z ab."


@pytest.mark.parametrize(
    ("truncate", "first", "second"), [("right", "do abcd.", "do z ab."), ("left", "do defg.", "do z fg.")]
)
def test_long_lines_are_shortened_where_the_run_says_so(make_translator, truncate, first, second):
    reading = Reading("do {source}.", truncate, 8)
    translator = make_translator(tokenizer=Letters(space=True), max_length=5, reading=reading)
    block = translator.encode(["ab", "abcdefg", "abcd"], 1)
    assert (block.num_shortened, [len(of_line) for of_line in block.parts]) == (1, [1, 1, 1])
    assert [of_line[0].text for of_line in translator.translate(["ab", "abcdefg", "abcd"])] == [
        "do ab.",
        first,
        "do abcd.",
    ]
    tagged = make_translator(tokenizer=Letters(space=True), max_length=5, reading=reading, tag="z")
    assert tagged.translate(["abcdefg"])[0][0].text == second


def test_text_without_whitespace_is_cut_between_characters(make_translator):
    found = make_translator(max_length=3).translate(["abcdefgh"])
    assert found[0][0].text.replace(" ", "") == "abcdefgh"
    assert all(len(part) <= 3 for part in found[0][0].text.split())


def test_a_character_of_too_many_tokens_is_shortened(make_translator):
    class Doubled(Letters):
        def encode(self, text):
            return [token for token in super().encode(text) for _ in range(2)]

    search = Echo()
    found = make_translator(search, tokenizer=Doubled(), max_length=1).translate(["ab"])
    assert found[0][0].text == "a b"
    assert search.shapes == [(2, 2)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("one two. three four five", "one two."),  # the end of a sentence, although "three" is nearer to the middle
        ('he said "no!" and then he went', 'he said "no!"'),
        ("a. bcdefgh ijklmno pqrs tuv", "a. bcdefgh "),  # the sentence ends too early
        ("version 1.25 of this program", "version 1.25 "),
        ("abcdefg", "abc"),
        ("\u4e00\u4e8c\u3002\u4e09\u56db\u4e94", "\u4e00\u4e8c\u3002"),
    ],
)
def test_cutting_place(text, left):
    assert text[: cutting_place(text)].rstrip() == left.rstrip()


def test_parts_with_unequal_numbers_of_hypotheses(make_translator):
    class OneForShort(Echo):
        def __call__(self, model, source, mask):
            found = super().__call__(model, source, mask)
            return [h if len(h[0].tokens) > 2 else h[:1] for h in found]

    assert texts(make_translator(OneForShort(), max_length=3).translate(["abc de"])) == [["abc de"]]


def test_a_translation_holds_no_line_break(make_translator):
    class Breaking(Letters):
        def decode(self, ids):
            return "x\ny\u2028z\r\nw"

    assert texts(make_translator(tokenizer=Breaking()).translate(["a"])) == [["x y z w"] * 2]


def test_progress_adds_up_to_the_lines(make_translator):
    done = []
    lines = ["abc", "", "d", "abcdefgh ijklmnop qrst", " ", "kl"]
    make_translator(max_tokens=6, max_length=8).translate(lines, on_done=done.append)
    assert sum(done) == len(lines)
    assert all(count > 0 for count in done)
    # The line in three parts is done with its last part only: the two empty ones, then one batch after the other.
    assert done[:2] == [2, 1]


def test_stops_between_batches(make_translator):
    search, answers = Echo(), iter([False, True])
    translator = make_translator(search, max_tokens=4)
    translator.model.train()
    with pytest.raises(Interrupted):
        translator.translate(["abc", "def", "ghi"], should_stop=lambda: next(answers))
    assert len(search.shapes) == 1
    assert translator.model.training


def test_the_model_is_in_eval_mode_and_gets_its_modes_back(make_translator):
    search = Echo()
    translator = make_translator(search)
    translator.model.train()
    translator.model.layer.eval()
    translator.translate(["ab"])
    assert search.inference == [True]
    assert translator.model.training
    assert not translator.model.layer.training


def test_the_precision_context_surrounds_the_search(make_translator):
    events = []

    @contextlib.contextmanager
    def precision():
        events.append("in")
        yield
        events.append("out")

    class Noting(Echo):
        def __call__(self, *arguments):
            events.append("search")
            return super().__call__(*arguments)

    make_translator(Noting(), precision_context=precision).translate(["ab"])
    assert events == ["in", "search", "out"]


def test_prompts_are_continued_as_they_were_given(make_translator):
    """Also what the tokenizer does not know, here all but lower-case letters; and blanks, if not at the end."""
    translator = make_translator()
    translator.source_tokenizer = None
    lines = ["abc", "A  b, c ", "", "123"]
    assert texts(translator.translate(lines)) == [["abcab"], ["A  b, cab"], ["ab"], ["ab"]]


def test_the_budget_of_prompts_counts_what_may_follow(make_translator):
    search = Echo()
    translator = make_translator(search, max_tokens=350)
    translator.source_tokenizer = None
    translator.translate(["a"] * 5)
    assert search.shapes == [(3, 1), (2, 1)]
