from seq2seq.export.agreement import Agreement, agreement
from seq2seq.search.translator import Translation


def translation(*targets: list[int]) -> Translation:
    return Translation("", 0.0, tuple(([9], target) for target in targets))


def test_places_with_the_same_token() -> None:
    """Of 4 + 1 places of the first line, with its end, 3 are the same; of the 2 + 1 of the second all."""
    ours = [translation([4, 5, 6, 7]), translation([4, 5])]
    theirs = [translation([4, 5, 8, 7, 9]), translation([4, 5])]
    assert agreement(ours, theirs) == Agreement(tokens=(3 + 3) / (6 + 3), sentences=1 / 2)
    assert agreement(ours, ours) == Agreement(1.0, 1.0)


def test_parts_and_lines_without_text() -> None:
    ours = [translation([4], [5, 6]), translation()]
    theirs = [translation([4], [5, 7]), translation()]
    assert agreement(ours, theirs) == Agreement(tokens=(2 + 2) / (2 + 3), sentences=1 / 2)
