"""Patterns of names: what they ask for, and that no key makes them slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_server.dicom.attributes import BY_KEYWORD
from pacs_server.dicom.names import NamePattern, grams_of_name, search_text, typed
from pacs_server.dicom.queries import predicates
from pacs_server.dicom.queries.predicates import NameLike, predicate_of
from pacs_server.errors import BadQuery

LETTERS = st.text(st.sampled_from("ab^"), max_size=6)


def fits(key: str, name: str, *, fuzzy: bool = False) -> bool:
    pattern = NamePattern.of(key, fuzzy=fuzzy)
    searched = search_text(name)
    answers = {bool(re.search(pattern.regex(atomic=atomic), searched)) for atomic in (True, False)}
    assert len(answers) == 1
    return answers.pop()


def is_found(key: str, name: str) -> bool:
    made = predicate_of(BY_KEYWORD["PatientName"], key)
    assert isinstance(made, NameLike)
    return any(re.search(one.regex(atomic=True), search_text(name)) for one in made.patterns)


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("*田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("山?*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("山*たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
        ("=*郎=*う", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=*田=*う", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
        ("山田*==", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ^たろう= ", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("=やまだ*=", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
        ("*ab*b", "ab", False),
        ("*ab*b", "abab", True),
        ("a.c", "abc", False),
        ("smith*", "Jones^Ann\\Smith^John", True),
    ],
)
def test_a_pattern_stays_within_one_group(key: str, name: str, expected: bool) -> None:
    assert fits(key, name) is expected


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("JONES^MARY^*", "JONES^MARY^^^", True),
        ("JONES^MARY^*", "JONES^MARY^ANN", True),
        ("JONES^MARY^*", "JONES^MARYANN", False),
        ("JONES^*^*^*^*", "JONES^MARY^ANN", True),
        ("JONES^*^*^*^*", "JONES^MARY", True),
        ("JONES*^*^*", "JONES", True),
        ("JONES^*^*", "JONESY", False),
        ("MONO^*", "MONO", True),
        ("MONO^*", "MONOTON", False),
        ("MONO^*=単*", "MONO=単", True),
        ("DOE^JOHN^*^DR*^*", "DOE^JOHN^^DR", True),
        ("DOE^*^*^DR", "DOE^JOHN^^DR", True),
        ("DOE^JOHN^*^*^JR", "DOE^JOHN^^^JR", True),
        ("DOE^JOHN^*^*^JR", "DOE^JOHN^PAUL^^JR", True),
        ("DOE^JOHN^PAUL^*^JR", "DOE^JOHN^PAUL^^JR", True),
        ("=土井^*^*^様=*", "DOE=土井^一^^様=どい", True),
        ("DOE^JOHN^*^DR", "DOE^DR", False),
        ("DOE^*^J*", "DOE^JOHN", False),
        ("DOE^*^J*", "DOE^^J", True),
        ("DOE^*^PAUL", "DOE^^PAUL", True),
        ("DOE*^*^PAUL^*", "DOE^^PAUL", True),
        ("DOE^*^*^DR", "DOE^^^DR", True),
        ("*^太郎", "=^太郎", True),
        ("=*^太郎*", "YAMADA=^太郎", True),
        ("*^*^PAUL", "^^PAUL", True),
        ("*^*^PAUL", "DOE^PAUL", False),
        ("*^花*", "花田^太郎", False),
        ("*^太郎", "太郎丸", False),
        ("鈴木　*", "=鈴木", True),
        ("ﾊ*", "ﾊﾞﾊﾞ^ﾀﾛｳ", True),
        ("ﾊ*", "ﾊﾟｰｶｰ", True),
        ("ﾔﾏﾀ*", "ﾔﾏﾀﾞ^ﾀﾛｳ", True),
        ("ﾔﾏﾀﾞ*", "ﾔﾏﾀ^ﾀﾛｳ", False),
        ("ｱ*", "ﾊﾞﾊﾞ^ﾀﾛｳ", False),
    ],
)
def test_an_asterisk_stands_for_nothing_too(key: str, name: str, expected: bool) -> None:
    assert any(fits(one, name) for one in typed(key)) is expected


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [
        ("山田太郎", "YAMADA^TARO=山田^太郎=やまだ^たろう", True),
        ("山田太郎", "=山田　太郎", True),
        ("山田太*", "=山田^太郎", True),
        ("*山田太郎*", "=山田^太郎", True),
        ("=山田太郎", "=山田^太郎", True),
        ("YAMADA^TARO=山田太郎", "YAMADA^TARO=山田^太郎", True),
        ("YAMADA^JIRO=山田太郎", "YAMADA^TARO=山田^太郎", False),
        ("=山田太郎=やまだたろう", "=山田^太郎=やまだ^たろう", True),
        ("林太郎", "=林^太郎", True),
        ("𠮷田花子", "=𠮷田^花子", True),
        ("やまだたろう", "=山田^太郎=ヤマダ^タロウ", True),
        ("ﾔﾏﾀﾞﾀﾛｳ*", "ﾔﾏﾀﾞ^ﾀﾛｳ", True),
        ("渡邊太郎", "=渡辺^太郎", False),
        ("山田太郎", "=山田^太郎丸", False),
        ("山田*", "=山^田代", False),
        ("アンナ", "=アン^ナ", False),
        ("山田^太郎", "=山田太郎", True),
        ("山田 太*", "=山田太郎", True),
        ("山^田太郎", "=山田^太郎", False),
        ("YAMADATARO", "YAMADA^TARO", False),
    ],
)
def test_a_name_of_kanji_or_kana_in_one_piece_is_the_one_in_two(key: str, name: str, expected: bool) -> None:
    assert is_found(key, name) is expected


def test_text_without_end_is_no_name_in_one_piece() -> None:
    assert not is_found("山" * 300, f"=山^{'山' * 299}")


def test_in_a_list_each_name_is_looked_for_as_it_stands() -> None:
    assert not is_found("山田太郎\\鈴木花子", "=山田^太郎")


@pytest.mark.parametrize(
    "name", ["O'BRIEN^PAT", "O’Brien^Pat", "O´Brien^Pat", "O`BRIEN^PAT", "OʼBrien^Pat", "O＇BRIEN^PAT"]
)
def test_an_apostrophe_finds_every_other_and_no_other_letter(name: str) -> None:
    for key in ("o'brien*", "O’BRIEN^PAT", "o‘b*", "O´BRIEN^*^*^*", "*`brien*"):
        assert any(fits(one, name) for one in typed(key))
        assert not any(fits(one, name.replace(name[1], "-")) for one in typed(key))
    assert any(fits(one, name, fuzzy=True) for one in typed("pat o'brien"))


@pytest.mark.parametrize(
    ("key", "name", "expected"),
    [("ÉMILE*", "ÉMILE^ZOÉ", True), ("ÔÏÀÞ*", "ﾔﾏﾀﾞ^ﾀﾛｳ", True), ("*àV*", "=黒澤", True), ("É*", "ﾉﾑﾗ^ﾀﾛｳ", False)],
)
def test_letters_that_are_kana_or_kanji_in_shift_jis_find_these_too(key: str, name: str, expected: bool) -> None:
    assert is_found(key, name) is expected


def test_the_middle_dot_of_one_character_set_finds_that_of_another() -> None:
    raw = "约翰·史密斯".encode("gbk")
    for name in (f"SMITH^JOHN={raw.decode('gbk')}", f"SMITH^JOHN={raw.decode('gb2312')}", "ｼﾞｮﾝ･ｽﾐｽ"):
        for dot in "·・･‧":
            assert any(fits(one, name) for one in typed(f"*{dot}*"))


@pytest.mark.parametrize("key", ["*", "^*", "*^*", "YAMADA^TARO", "山田*", "ﾔﾏﾀﾞ", ""])
def test_a_key_of_which_nothing_else_is_meant_stays_as_it_is(key: str) -> None:
    assert typed(key) == [key]


@pytest.mark.parametrize("key", ["tarou yamada", "Yam^Tar", "太郎 山田", "yamada"])
def test_fuzzy_words_stand_in_any_order(key: str) -> None:
    assert fits(key, "Yamada^Tarou=山田^太郎", fuzzy=True)
    assert not fits(key + " hanako", "Yamada^Tarou=山田^太郎", fuzzy=True)


@given(st.lists(LETTERS, min_size=1, max_size=4), LETTERS)
def test_a_name_that_fits_has_every_gram_of_its_pattern(parts: list[str], name: str) -> None:
    pattern = NamePattern.of("*".join(parts))
    if pattern.parts and re.search(pattern.regex(atomic=True), search_text(name)):
        held = grams_of_name(search_text(name))
        assert all(any(one.startswith(gram) for one in held) for gram in pattern.grams)


def test_a_key_of_many_wildcards_is_not_slow() -> None:
    pattern = NamePattern.of("*a" * 200 + "*b")
    assert not re.search(pattern.regex(atomic=True), search_text("a" * 1000))


def test_a_key_of_many_carets_is_not_slow() -> None:
    """It would take half an hour, were the expression tried at each of them."""
    assert typed("^" * 300_000 + "'·1")


def test_a_list_of_too_many_names_is_refused_without_being_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []

    def noted(text: str) -> list[str]:
        looked_at.append(text)
        return typed(text)

    monkeypatch.setattr(predicates, "typed", noted)
    with pytest.raises(BadQuery, match="ask in parts"):
        predicate_of(BY_KEYWORD["PatientName"], "\\".join(f"'·{number}" for number in range(100_000)))
    assert len(looked_at) < 1_000
