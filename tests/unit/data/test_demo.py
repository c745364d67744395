"""The demo corpus. The German expectations are written by hand, not copied from the grammar."""

import itertools
import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest
import sacrebleu

from seq2seq.data import lexicon
from seq2seq.data.demo import MAX_WORDS, MIN_WORDS, Demo, Derivations, generate
from seq2seq.data.grammar import (
    NOTHING,
    Clause,
    both,
    clause_after,
    clause_before,
    fronted,
    joined,
    name,
    noun_phrase,
    prepositional,
    pronoun,
    question,
    sentence,
    statement,
    subordinate,
    who,
)
from seq2seq.data.parts_of_speech import Pair

NOUN = {noun.english[0]: noun for noun in lexicon.NOUNS}
ADJECTIVE = {adjective.english: adjective for adjective in lexicon.ADJECTIVES}
VERB = {f"{v.english} {v.english_particle}".strip(): v for v in lexicon.VERBS if v.frame not in ("that", "whether")}
MODAL = {modal.english: modal for modal in lexicon.MODALS}
PRONOUN = {word.english[0]: pronoun(word) for word in lexicon.PRONOUNS}
NUMBER = dict(lexicon.NUMBERS)


def phrase(text, modifier=NOTHING):
    """`the two big dogs` to its noun phrase; bare for the plural without article."""
    words = text.split()
    determiner = words.pop(0) if words[0] in lexicon.DETERMINERS else ""
    number = Pair(words[0], NUMBER[words.pop(0)]) if words[0] in NUMBER else NOTHING
    plural = words[-1] not in NOUN
    noun = next(n for n in lexicon.NOUNS if n.english[plural] == words[-1])
    adjectives = [ADJECTIVE[word] for word in words[:-1]]
    return noun_phrase(determiner, noun, plural=plural, number=number, adjectives=adjectives, modifier=modifier)


def place(preposition, text, places=lexicon.PLACES):
    word, case = next((word, case) for word, case, _ in places if word.english == preposition)
    return prepositional(word, case, phrase(text))


def person(text):
    if text in PRONOUN:
        return PRONOUN[text]
    return name(text) if text in lexicon.NAMES else phrase(text)


def clause(subject, verb, *objects, **rest):
    word = VERB[verb]
    cases = {
        "accusative": ["accusative"],
        "dative": ["dative"],
        "ditransitive": ["dative", "accusative"],
        "prepositional": [lexicon.PREPOSITION_CASES.get(word.preposition)],
    }.get(word.frame, [])
    return Clause(person(subject), word, tuple(zip(cases, map(person, objects), strict=False)), **rest)


def assert_pair(pair, english, german):
    assert pair == (english, german)


@pytest.mark.parametrize(
    ("text", "english", "cases"),
    [
        ("the old dog", "the old dog", "der alte Hund, den alten Hund, dem alten Hund"),
        ("the old cat", "the old cat", "die alte Katze, die alte Katze, der alten Katze"),
        ("the old book", "the old book", "das alte Buch, das alte Buch, dem alten Buch"),
        ("a old dog", "an old dog", "ein alter Hund, einen alten Hund, einem alten Hund"),
        ("a old cat", "an old cat", "eine alte Katze, eine alte Katze, einer alten Katze"),
        ("a new book", "a new book", "ein neues Buch, ein neues Buch, einem neuen Buch"),
        ("a umbrella", "an umbrella", "ein Regenschirm, einen Regenschirm, einem Regenschirm"),
        ("no small child", "no small child", "kein kleines Kind, kein kleines Kind, keinem kleinen Kind"),
        (
            "no small children",
            "no small children",
            "keine kleinen Kinder, keine kleinen Kinder, keinen kleinen Kindern",
        ),
        ("this tired man", "this tired man", "dieser müde Mann, diesen müden Mann, diesem müden Mann"),
        ("this women", "these women", "diese Frauen, diese Frauen, diesen Frauen"),
        ("every expensive car", "every expensive car", "jedes teure Auto, jedes teure Auto, jedem teuren Auto"),
        ("our dark room", "our dark room", "unser dunkles Zimmer, unser dunkles Zimmer, unserem dunklen Zimmer"),
        ("her friend", "her friend", "ihr Freund, ihren Freund, ihrem Freund"),
        ("your sister", "your sister", "deine Schwester, deine Schwester, deiner Schwester"),
        ("my apples", "my apples", "meine Äpfel, meine Äpfel, meinen Äpfeln"),
        ("big black dogs", "big black dogs", "große schwarze Hunde, große schwarze Hunde, großen schwarzen Hunden"),
        ("many mice", "many mice", "viele Mäuse, viele Mäuse, vielen Mäusen"),
        ("twelve red cars", "twelve red cars", "zwölf rote Autos, zwölf rote Autos, zwölf roten Autos"),
        ("the five geese", "the five geese", "die fünf Gänse, die fünf Gänse, den fünf Gänsen"),
        ("the young boy", "the young boy", "der junge Junge, den jungen Jungen, dem jungen Jungen"),
        ("a student", "a student", "ein Student, einen Studenten, einem Studenten"),
        ("this neighbor", "this neighbor", "dieser Nachbar, diesen Nachbarn, diesem Nachbarn"),
        ("the lions", "the lions", "die Löwen, die Löwen, den Löwen"),
        ("the teachers", "the teachers", "die Lehrer, die Lehrer, den Lehrern"),
        ("the girls", "the girls", "die Mädchen, die Mädchen, den Mädchen"),
    ],
)
def test_noun_phrases_agree(text, english, cases):
    result = phrase(text)
    assert result.english[0] == english
    assert ", ".join(result.german) == cases


def test_pronouns_take_the_case_of_the_verb():
    assert_pair(statement(clause("I", "see", "he")), "I see him", "ich sehe ihn")
    assert_pair(statement(clause("he", "help", "I")), "he helps me", "er hilft mir")
    assert_pair(statement(clause("you", "follow", "she")), "you follow her", "du folgst ihr")
    assert_pair(statement(clause("she", "thank", "they")), "she thanks them", "sie dankt ihnen")
    assert_pair(statement(clause("they", "wait for", "she")), "they wait for her", "sie warten auf sie")
    assert_pair(statement(clause("we", "love", "you")), "we love you", "wir lieben dich")


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("sleep", "ich schlafe, du schläfst, er schläft, wir schlafen"),
        ("work", "ich arbeite, du arbeitest, er arbeitet, wir arbeiten"),
        ("dance", "ich tanze, du tanzt, er tanzt, wir tanzen"),
        ("arrive", "ich komme an, du kommst an, er kommt an, wir kommen an"),
        ("be", "ich bin, du bist, er ist, wir sind"),
        ("read", "ich lese, du liest, er liest, wir lesen"),
        ("take", "ich nehme, du nimmst, er nimmt, wir nehmen"),
        ("have", "ich habe, du hast, er hat, wir haben"),
        ("invite", "ich lade ein, du lädst ein, er lädt ein, wir laden ein"),
    ],
)
def test_verbs_agree_with_the_subject(verb, forms):
    assert ", ".join(statement(clause(word, verb)).german for word in ("I", "you", "he", "we")) == forms


def test_both_subjects_make_a_plural():
    pair = statement(
        Clause(both(phrase("the man"), phrase("his daughter")), VERB["go"], complement=place("in", "a park"))
    )
    assert_pair(pair, "the man and his daughter go in a park", "der Mann und seine Tochter gehen in einem Park")


def test_negation():
    assert_pair(
        statement(clause("the man", "see", "the dog", negated=True)),
        "the man does not see the dog",
        "der Mann sieht den Hund nicht",
    )
    assert_pair(statement(clause("Anna", "see", "no dog")), "Anna sees no dog", "Anna sieht keinen Hund")
    assert_pair(
        statement(clause("they", "open", "the doors", negated=True)),
        "they do not open the doors",
        "sie machen die Türen nicht auf",
    )
    assert_pair(
        statement(clause("you", "wait for", "the doctor", negated=True)),
        "you do not wait for the doctor",
        "du wartest nicht auf den Arzt",
    )
    assert_pair(
        statement(clause("the soup", "be", complement=Pair("good", "gut"), negated=True)),
        "the soup is not good",
        "die Suppe ist nicht gut",
    )
    assert_pair(
        statement(clause("he", "help", "you", tense=MODAL["can"], negated=True)),
        "he cannot help you",
        "er kann dir nicht helfen",
    )
    assert_pair(
        statement(clause("he", "buy", "this car", tense=MODAL["have"], negated=True)),
        "he does not have to buy this car",
        "er muss dieses Auto nicht kaufen",
    )


def test_separable_verbs():
    main = clause("the boy", "open", "a window")
    assert_pair(statement(main), "the boy opens a window", "der Junge macht ein Fenster auf")
    assert_pair(
        subordinate(Pair("because", "weil"), main),
        "because the boy opens a window",
        "weil der Junge ein Fenster aufmacht",
    )
    assert_pair(
        statement(clause("the boy", "open", "a window", tense="perfect")),
        "the boy has opened a window",
        "der Junge hat ein Fenster aufgemacht",
    )
    assert_pair(
        statement(clause("the boy", "open", "a window", tense=MODAL["want"])),
        "the boy wants to open a window",
        "der Junge will ein Fenster aufmachen",
    )
    assert_pair(statement(clause("she", "pick up", "he")), "she picks him up", "sie holt ihn ab")
    assert_pair(statement(clause("she", "pick up", "the girl")), "she picks up the girl", "sie holt das Mädchen ab")
    assert_pair(statement(clause("she", "look at", "he")), "she looks at him", "sie sieht ihn an")


def test_perfect_with_haben_and_sein():
    assert_pair(
        statement(clause("we", "eat", "the apples", tense="perfect")),
        "we have eaten the apples",
        "wir haben die Äpfel gegessen",
    )
    assert_pair(statement(clause("Paul", "get up", tense="perfect")), "Paul has gotten up", "Paul ist aufgestanden")
    assert_pair(
        subordinate(Pair("that", "dass"), clause("you", "follow", "a wolf", tense="perfect")),
        "that you have followed a wolf",
        "dass du einem Wolf gefolgt bist",
    )


def test_modal_verbs():
    assert_pair(
        statement(clause("I", "read", "the letter", tense=MODAL["will"])),
        "I will read the letter",
        "ich werde den Brief lesen",
    )
    assert_pair(
        statement(clause("you", "cook", "the eggs", tense=MODAL["should"])),
        "you should cook the eggs",
        "du solltest die Eier kochen",
    )
    assert_pair(
        subordinate(Pair("although", "obwohl"), clause("he", "write", "a book", tense=MODAL["may"])),
        "although he may write a book",
        "obwohl er ein Buch schreiben darf",
    )


def test_two_objects_and_adverbs():
    assert_pair(
        statement(clause("the man", "give", "his son", "a knife")),
        "the man gives his son a knife",
        "der Mann gibt seinem Sohn ein Messer",
    )
    assert_pair(
        statement(clause("I", "visit", "the queen", time=Pair("today", "heute"))),
        "I visit the queen today",
        "ich besuche heute die Königin",
    )
    assert_pair(
        statement(clause("I", "visit", "she", time=Pair("today", "heute"))),
        "I visit her today",
        "ich besuche sie heute",
    )
    often = Pair("often", "oft")
    assert_pair(
        statement(clause("he", "lose", "the key", frequency=often)),
        "he often loses the key",
        "er verliert den Schlüssel oft",
    )
    assert_pair(statement(clause("he", "buy", "eggs", frequency=often)), "he often buys eggs", "er kauft oft Eier")


def test_an_adverb_in_front_inverts():
    assert_pair(
        fronted(Pair("today", "heute"), clause("the man", "see", "a bird")),
        "today the man sees a bird",
        "heute sieht der Mann einen Vogel",
    )
    assert_pair(
        fronted(Pair("tomorrow", "morgen"), clause("Max", "call", "we", tense=MODAL["will"])),
        "tomorrow Max will call us",
        "morgen wird Max uns anrufen",
    )


def test_prepositions():
    assert_pair(place("in", "the garden"), "in the garden", "im Garten")
    assert_pair(place("in", "the old house"), "in the old house", "im alten Haus")
    assert_pair(place("in", "this garden"), "in this garden", "in diesem Garten")
    assert_pair(place("in", "the city"), "in the city", "in der Stadt")
    assert_pair(place("in front of", "the house"), "in front of the house", "vor dem Haus")
    assert_pair(place("on", "a table"), "on a table", "auf einem Tisch")
    assert_pair(place("into", "the house", lexicon.DIRECTIONS), "into the house", "ins Haus")
    assert_pair(place("into", "the park", lexicon.DIRECTIONS), "into the park", "in den Park")
    assert_pair(place("to", "the school", lexicon.DIRECTIONS), "to the school", "zur Schule")
    assert_pair(place("to", "the station", lexicon.DIRECTIONS), "to the station", "zum Bahnhof")
    assert_pair(place("to", "the stations", lexicon.DIRECTIONS), "to the stations", "zu den Bahnhöfen")
    assert_pair(place("through", "the forest", lexicon.DIRECTIONS), "through the forest", "durch den Wald")
    assert_pair(statement(clause("he", "dream of", "the bear")), "he dreams of the bear", "er träumt vom Bären")
    with_hat = prepositional(Pair("with", "mit"), "dative", phrase("a red hat"))
    woman = phrase("the woman", with_hat)
    assert (woman.english[0], woman.german[2]) == ("the woman with a red hat", "der Frau mit einem roten Hut")


def test_questions():
    assert_pair(
        sentence(question(clause("the cat", "see", "a mouse")), "?"),
        "Does the cat see a mouse?",
        "Sieht die Katze eine Maus?",
    )
    assert_pair(
        question(clause("you", "sleep", tense="perfect", negated=True)),
        "have you not slept",
        "hast du nicht geschlafen",
    )
    assert_pair(
        statement(Clause(who(), VERB["help"], (("dative", phrase("the child")),))),
        "who helps the child",
        "wer hilft dem Kind",
    )
    assert_pair(question(clause("he", "visit"), lexicon.QUESTIONS["person"]), "who does he visit", "wen besucht er")
    assert_pair(question(clause("he", "trust"), lexicon.QUESTIONS["dative"]), "who does he trust", "wem vertraut er")
    assert_pair(
        question(clause("the boys", "buy", tense=MODAL["want"]), lexicon.QUESTIONS["thing"]),
        "what do the boys want to buy",
        "was wollen die Jungen kaufen",
    )
    assert_pair(
        question(clause("she", "run", tense="perfect"), lexicon.QUESTIONS["direction"]),
        "where has she run",
        "wohin ist sie gerannt",
    )
    assert_pair(
        question(clause("the tomatoes", "be", complement=Pair("red", "rot")), Pair("why", "warum")),
        "why are the tomatoes red",
        "warum sind die Tomaten rot",
    )


def test_subordinate_clauses():
    reads = clause("the queen", "read", "a newspaper")
    sleeps = clause("the king", "sleep")
    because = subordinate(Pair("because", "weil"), reads)
    assert_pair(
        sentence(clause_after(statement(sleeps), because)),
        "The king sleeps because the queen reads a newspaper.",
        "Der König schläft, weil die Königin eine Zeitung liest.",
    )
    assert_pair(
        sentence(clause_before(subordinate(Pair("if", "wenn"), sleeps), reads)),
        "If the king sleeps, the queen reads a newspaper.",
        "Wenn der König schläft, liest die Königin eine Zeitung.",
    )
    believes = Clause(phrase("the farmer"), next(v for v in lexicon.VERBS if v.english == "believe"))
    assert_pair(
        clause_after(statement(believes), subordinate(lexicon.THAT, clause("she", "put on", "a dress"))),
        "the farmer believes that she puts on a dress",
        "der Bauer glaubt, dass sie ein Kleid anzieht",
    )
    knows = Clause(PRONOUN["I"], next(v for v in lexicon.VERBS if v.frame == "whether"), negated=True)
    assert_pair(
        clause_after(statement(knows), subordinate(lexicon.WHETHER, clause("he", "come back", tense="perfect"))),
        "I do not know whether he has come back",
        "ich weiß nicht, ob er zurückgekommen ist",
    )


def test_joined_clauses():
    first, second = statement(clause("I", "sing")), statement(clause("the children", "laugh"))
    assert_pair(joined(first, second), "I sing and the children laugh", "ich singe und die Kinder lachen")
    assert_pair(
        joined(first, second, contrast=True), "I sing, but the children laugh", "ich singe, aber die Kinder lachen"
    )


@pytest.fixture(scope="module")
def pairs():
    return generate(21000, 1)


def test_every_word_of_the_lexicon_occurs(pairs):
    german = {word for pair in pairs for word in re.findall(r"\w+", pair.german)}
    assert {form for noun in lexicon.NOUNS for form in noun.german} <= german
    assert {verb.present[2] for verb in lexicon.VERBS} <= german
    assert {number.german for number in lexicon.NUMBERS} <= german
    stems = {adjective.stem + "en" for adjective in lexicon.ADJECTIVES}
    assert stems <= german


def test_sentences_look_like_text(pairs):
    for pair in pairs:
        assert len({text[-1] for text in pair}) == 1
        for text in pair:
            assert re.fullmatch(r"\w+(,? \w+)*[.?]", text)
            assert text[0].isupper()
            assert MIN_WORDS <= len(text.split()) <= MAX_WORDS


def test_lengths_and_vocabularies(pairs):
    for texts in zip(*pairs, strict=True):
        lengths = [len(text.split()) for text in texts]
        assert 7 <= sum(lengths) / len(lengths) <= 10
        assert max(Counter(lengths).values()) < 0.25 * len(lengths)
        assert sum(length > 12 for length in lengths) > 0.05 * len(lengths)
        words = {word.lower() for text in texts for word in re.findall(r"\w+", text)}
        assert 200 <= len(words) <= 900


def test_each_sentence_has_one_translation():
    derivations = Derivations(7)
    translations = defaultdict(set), defaultdict(set)
    for _ in range(20000):
        english, german = derivations.sentence()
        translations[0][english].add(german)
        translations[1][german].add(english)
    for table in translations:
        assert [item for item in table.items() if len(item[1]) > 1] == []


def test_splits_have_their_sizes_and_share_nothing():
    corpus = Demo(train=3000, validation=130, test=110)
    splits = [list(corpus.split(name).read()) for name in ("train", "validation", "test")]
    assert list(map(len, splits)) == [3000, 130, 110]
    for side in ("source", "target"):
        texts = [[getattr(example, side) for example in split] for split in splits]
        assert all(len(set(split)) == len(split) for split in texts)
        assert not any(set(a) & set(b) for a, b in itertools.combinations(texts, 2))


def test_the_same_seed_gives_the_same_sentences():
    first, second, other = (list(Demo(train=90, seed=seed).split("train").read()) for seed in (5, 5, 6))
    assert first == second
    assert len({example.source for example in first} & {example.source for example in other}) < 10


def test_another_process_gives_the_same_sentences():
    code = "from seq2seq.data.demo import generate; print(ascii(generate(40, 3)))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ascii(generate(40, 3))


def test_the_test_set_does_not_depend_on_the_other_sizes():
    tests = [list(Demo(train=train, validation=v, test=60).split("test").read()) for train, v in ((50, 70), (400, 9))]
    assert tests[0] == tests[1]


def test_german_to_english_is_the_same_corpus_the_other_way():
    there, back = Demo(train=80).split("train"), Demo(train=80, source="de", target="en").split("train")
    assert [(e.source, e.target) for e in there.read()] == [(e.target, e.source) for e in back.read()]


def test_one_language_is_refused():
    with pytest.raises(ValueError, match="source and target are both de: one has to be en, the other de"):
        Demo(source="de", target="de")


def test_reading_by_shards_and_from_the_middle():
    split = Demo(train=53, validation=7, test=5).split("train")
    assert len(split) == 53
    examples = list(split.read())
    assert [example.number for example in examples] == list(range(53))
    assert [example.number for example in split.read((2, 3), start=20)] == list(range(20, 53, 3))
    shards = [example for shard in range(3) for example in split.read((shard, 3))]
    assert sorted(shards, key=lambda example: example.number) == examples
    assert split[17] == examples[17]


def test_copying_the_source_is_no_translation(pairs):
    sources, targets = zip(*pairs[:500], strict=True)
    assert sacrebleu.corpus_bleu(sources, [targets]).score < 5


def test_translating_word_by_word_is_no_translation(pairs):
    """Each English word by the German word that goes with it most exclusively (the best Dice coefficient)."""
    together, english, german = Counter(), Counter(), Counter()
    split = re.compile(r"\w+|[^\w\s]").findall
    for pair in pairs[1000:7000]:
        sources, targets = ({word.lower() for word in split(text)} for text in pair)
        english.update(sources)
        german.update(targets)
        together.update(itertools.product(sources, targets))
    best = {}
    for (source, target), count in together.items():
        dice = 2 * count / (english[source] + german[target])
        best[source] = max(best.get(source, (0.0, "")), (dice, target))
    assert best["dog"][1] == "hund"
    assert best["because"][1] == "weil"
    hypotheses = [
        " ".join(best.get(word.lower(), (0, word))[1] for word in split(pair.english)) for pair in pairs[:500]
    ]
    score = sacrebleu.corpus_bleu(hypotheses, [[pair.german for pair in pairs[:500]]], lowercase=True).score
    assert 2 < score < 40
