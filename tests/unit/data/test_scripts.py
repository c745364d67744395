import pytest

from seq2seq.data.scripts import code_of, extent, has_spaces, joined, scripts_of

CHINESE = "\u4eba\u4eba\u751f\u800c\u81ea\u7531"
JAPANESE = "\u3059\u3079\u3066\u306e\u4eba\u9593\u306f"
KOREAN = "\ubaa8\ub4e0 \uc778\uac04\uc740"
THAI = "\u0e21\u0e19\u0e38\u0e29\u0e22\u0e4c"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("", 0),
        ("free and equal", 14),
        ("fr\u00ef", 3),
        (CHINESE, 18),
        (f"{CHINESE}\u3002 ok", 22),
        (JAPANESE, 5 * 2 + 2 * 3),
        (KOREAN, 5 * 2 + 1),
        (THAI, 6),
        ("\U00020001", 3),
    ],
)
def test_extent(text: str, letters: int) -> None:
    assert extent(text) == letters


def test_scripts_without_spaces() -> None:
    assert [has_spaces(text) for text in ("a b", "\u00e4", KOREAN, "")] == [True] * 4
    assert [has_spaces(text) for text in (CHINESE, JAPANESE, THAI, f"{CHINESE} USB")] == [False] * 4


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["One.", "Two."], "One. Two."),
        (["", "Two.", ""], " Two. "),
        ([f"{CHINESE}\u3002", CHINESE, JAPANESE], f"{CHINESE}\u3002{CHINESE}{JAPANESE}"),
        ([f"{CHINESE}\uff01", "USB", CHINESE], f"{CHINESE}\uff01USB {CHINESE}"),
        ([KOREAN, KOREAN], f"{KOREAN} {KOREAN}"),
        ([THAI, THAI], f"{THAI} {THAI}"),
        ([CHINESE], CHINESE),
    ],
)
def test_joined(parts: list[str], text: str) -> None:
    assert joined(parts) == text


def test_languages() -> None:
    assert code_of("zh-CN") == code_of("ZH_tw") == "zh"
    assert scripts_of("zho_Hans") == scripts_of("zh") == {"CJK"}
    assert scripts_of("ja") >= {"CJK", "HIRAGANA"}
    assert scripts_of("xx") == frozenset()
