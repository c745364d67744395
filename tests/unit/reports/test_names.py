"""Names of runs, as people read them beside each other."""

from seq2seq.reports.names import shortener

SWEEP = [
    f"model={model},optimizer.lr={lr},trainer.seed=1" for model in ("lstm_tiny", "gru_tiny") for lr in (1e-3, 2e-3)
]


def test_what_all_share_is_left_out_and_keys_are_their_last_words() -> None:
    assert [*map(shortener(SWEEP), SWEEP)] == [
        "lstm_tiny lr=0.001",
        "lstm_tiny lr=0.002",
        "gru_tiny lr=0.001",
        "gru_tiny lr=0.002",
    ]


def test_a_group_is_named_like_its_runs() -> None:
    names = ["model=a,trainer.seed=1", "model=a,trainer.seed=2", "model=b,trainer.seed=1"]
    assert shortener(names)("model=a") == "a"


def test_the_digits_that_a_sweep_adds_are_dropped_where_the_rest_is_clear() -> None:
    names = ["lr=1,seed=1-0123abcd", "lr=1,seed=2-89abcdef"]
    assert [*map(shortener(names), names)] == ["seed=1", "seed=2"]
    names = ["lr=1,seed=1-0123abcd", "lr=1,seed=1-89abcdef"]
    assert [*map(shortener(names), names)] == ["seed=1-0123abcd", "seed=1-89abcdef"]
    names = ["base-0123abcd", "base-89abcdef"]
    assert [*map(shortener(names), names)] == names


def test_keys_with_the_same_last_word_are_told_apart() -> None:
    names = ["a.size=1,b.size=2,c.width=3", "a.size=2,b.size=1,c.width=4"]
    assert [*map(shortener(names), names)] == ["a.size=1 b.size=2 width=3", "a.size=2 b.size=1 width=4"]


def test_a_comma_in_a_value_stays() -> None:
    names = ["betas=[0.9,0.98],lr=1", "betas=[0.9,0.99],lr=2"]
    assert [*map(shortener(names), names)] == ["betas=[0.9,0.98] lr=1", "betas=[0.9,0.99] lr=2"]


def test_other_names_stay() -> None:
    for names in (["small", "large"], ["one"], ["lr=1", "mine"], ["a=1"], ["a=1", "a=1"]):
        short = shortener(names)
        assert [short(name) for name in names] == names
    assert shortener([])("x") == "x"


def test_each_folder_by_itself() -> None:
    names = ["pairs/model=a,lr=1,seed=7", "pairs/model=a,lr=2,seed=7", "alone", "other/lr=1"]
    assert [*map(shortener(names), names)] == ["pairs/lr=1", "pairs/lr=2", "alone", "other/lr=1"]


def test_long_names_lose_their_middle_where_they_are_clear_then() -> None:
    names = ["the-first-of-several-long-names", "short", "the-second-of-several-long-names"]
    assert [*map(shortener(names, 20), names)] == ["the-firs...ong-names", "short", "the-seco...ong-names"]
    alike = ["a" * 30 + "x" + "a" * 30, "a" * 30 + "y" + "a" * 30]
    assert [*map(shortener(alike, 20), alike)] == alike
