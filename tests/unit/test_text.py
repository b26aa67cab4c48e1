"""Names and character sets as hospitals have them: nothing lost, everything found."""

# ruff: noqa: E501 - the bytes of an example stay on their line

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.replies import reply

import pacs_server
from pacs_server.dicom.charset import ReplyCharset, declared, decode
from pacs_server.dicom.names import fold, groups, search_text

IR87, IR13, IR159 = (
    ("", "ISO 2022 IR 87"),
    ("ISO 2022 IR 13", "ISO 2022 IR 87"),
    ("", "ISO 2022 IR 87", "ISO 2022 IR 159"),
)
UTF8 = ("ISO_IR 192",)

# PS3.5 annexes H to K: the bytes of the examples, their label and their text.
EXAMPLES = {
    "H.3.1": (IR87, "59 61 6d 61 64 61 5e 54 61 72 6f 75 3d 1b 24 42 3b 33 45 44 1b 28 42 5e 1b 24 42 42 40 4f 3a 1b 28 42 3d"
              "1b 24 42 24 64 24 5e 24 40 1b 28 42 5e 1b 24 42 24 3f 24 6d 24 26 1b 28 42", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "H.3.2": (IR13, "d4 cf c0 de 5e c0 db b3 3d 1b 24 42 3b 33 45 44 1b 28 4a 5e 1b 24 42 42 40 4f 3a 1b 28 4a 3d"
              "1b 24 42 24 64 24 5e 24 40 1b 28 4a 5e 1b 24 42 24 3f 24 6d 24 26 1b 28 4a", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "I.2": (("", "ISO 2022 IR 149"), "48 6f 6e 67 5e 47 69 6c 64 6f 6e 67 3d 1b 24 29 43 fb f3 5e 1b 24 29 43 d1 ce d4 d7 3d"
            "1b 24 29 43 c8 ab 5e 1b 24 29 43 b1 e6 b5 bf", "Hong^Gildong=洪^吉洞=홍^길동"),
    "J.1": (UTF8, "57 61 6e 67 5e 58 69 61 6f 44 6f 6e 67 3d e7 8e 8b 5e e5 b0 8f e6 9d b1 3d", "Wang^XiaoDong=王^小東="),
    "J.2": (("GB18030",), "57 61 6e 67 5e 58 69 61 6f 44 6f 6e 67 3d cd f5 5e d0 a1 b6 ab 3d", "Wang^XiaoDong=王^小东="),
    "K.2": (("", "ISO 2022 IR 58"), "5a 68 61 6e 67 5e 58 69 61 6f 44 6f 6e 67 3d 1b 24 29 41 d5 c5 5e 1b 24 29 41 d0 a1 b6 ab 3d",
            "Zhang^XiaoDong=张^小东="),
}  # fmt: skip

NAMES = [
    "ヤマダ^タロウ",
    "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "山田^太郎=やまだ^たろう",
    "髙橋",
    "𠮷田",
    "渡邊",
    "渡邉",
    "渡辺",
    "森^鷗外",
    "オーノ",
    "山田　太郎",
    "シン",
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_standard_are_read_without_a_flag(name: str) -> None:
    terms, codes, text = EXAMPLES[name]
    decoded = decode(bytes.fromhex(codes), terms, vr="PN")
    assert (decoded.text, set(decoded.flags)) == (text, set())


@pytest.mark.parametrize(
    ("terms", "codec", "text"),
    [
        (("ISO_IR 100",), "latin-1", "Buc^Jérôme"),
        (("ISO_IR 101",), "iso8859-2", "Wałęsa"),
        (("ISO_IR 101",), "iso8859-2", "RÓŻYCKA^RŮŽENA"),  # these are UTF-8, too, of Cyrillic and Arabic letters
        (("ISO_IR 101",), "iso8859-2", "PÓŁTORAK"),
        (("ISO_IR 126",), "iso8859-7", "Διονυσιος"),
        (("ISO_IR 127",), "iso8859-6", "قباني^لنزار"),
        (("ISO_IR 138",), "iso8859-8", "שרון^דבורה"),
        (("ISO_IR 144",), "iso8859-5", "Люкceмбypг"),
        (("ISO_IR 166",), "tis-620", "สมชาย"),
        (("GBK",), "gbk", "王^小东"),
    ],
)
def test_a_single_character_set_is_read_and_written(terms: tuple[str, ...], codec: str, text: str) -> None:
    assert decode(text.encode(codec), terms, vr="PN").text == text
    assert reply([text], ["PN"], terms) == (terms[0], [text.encode(codec)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terms", [(), ("ISO_IR 100",), ("ISO_IR 13",), IR87, IR13, IR159, UTF8], ids=str)
def test_a_reply_reads_back_to_exactly_the_name(name: str, terms: tuple[str, ...]) -> None:
    label, (raw,) = reply([name], ["PN"], terms)
    assert decode(raw, declared(label.encode()), vr="PN").text == name


@pytest.mark.parametrize(
    ("terms", "name", "raw"),
    [
        (("ISO 2022 IR 100", "ISO 2022 IR 144"), "Äneas^Иван^Groß", b"\xc4neas^\x1b-L\xb8\xd2\xd0\xdd\x1b-A^Gro\xdf"),
        (("ISO 2022 IR 148", "ISO 2022 IR 127"), "Öz^كمال", b"\xd6z^\x1b-G\xe3\xe5\xc7\xe4\x1b-M"),
        (("ISO 2022 IR 13", "ISO 2022 IR 149"), "ﾔﾏ^홍^ﾀ", b"\xd4\xcf^\x1b$)C\xc8\xab\x1b)I^\xc0"),
        (("", "ISO 2022 IR 149"), "Hong=홍^길", b"Hong=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6"),
    ],
)
def test_the_first_set_is_called_again_before_each_delimiter_and_at_the_end(
    terms: tuple[str, ...], name: str, raw: bytes
) -> None:
    """PS3.5 section 6.1.2.5.3."""
    assert reply([name], ["PN"], terms) == ("\\".join(terms), [raw])


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        (("ISO 2022 IR 100",), "ISO_IR 100"),
        (("ISO_IR 100", ""), "ISO_IR 100"),
        (("ISO 2022 IR 58",), "\\ISO 2022 IR 58"),
        (("ISO 2022 IR 149",), "\\ISO 2022 IR 149"),
        (("ISO 2022 IR 87",), "\\ISO 2022 IR 87"),
        (("", "", "ISO 2022 IR 87"), "\\ISO 2022 IR 87"),
        (("ISO_IR 6", "ISO 2022 IR 87"), "\\ISO 2022 IR 87"),
        (("ISO_IR 13", "ISO 2022 IR 87"), "ISO 2022 IR 13\\ISO 2022 IR 87"),
        (("iso ir 192",), "ISO_IR 192"),
        ((), "ISO_IR 100"),
    ],
)
def test_an_answer_has_a_label_of_the_standard(asked: tuple[str, ...], label: str) -> None:
    """PS3.3 section C.12.1.1.2."""
    assert ReplyCharset(asked).terms == label


def test_kanji_behind_jis_x_0201_are_written_as_the_standard_shows() -> None:
    """Source: PS3.5 section H.3.2."""
    label, (raw,) = reply(["ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"], ["PN"], IR13)
    assert (label, raw) == ("\\".join(IR13), b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J")
    label, (raw,) = reply(["Yamada^Tarou=山田^太郎"], ["PN"], IR13)
    assert (label, raw) == ("\\".join(IR13), b"Yamada^Tarou=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J")


@pytest.mark.parametrize(
    "name", ["山田\x1b", "山\x1b\x1b$B", "山\x1b(B田", "\x1b$B山田", "山田\x1b\x1b(J", "山\x1b(H田", "山\x1b&@田"]
)
@pytest.mark.parametrize("terms", [IR87, IR13, IR159], ids=str)
def test_an_escape_that_stands_in_a_text_is_no_escape_sequence(name: str, terms: tuple[str, ...]) -> None:
    label, (raw,) = reply([name], ["PN"], terms)
    assert decode(raw, declared(label.encode()), vr="PN").text == name


@pytest.mark.parametrize(
    ("pair", "shifted"),
    [
        *[("7521", "f040"), ("753d", "f05c"), ("753f", "f05e"), ("7e7e", "f4fc"), ("7921", "ed40"), ("2d21", "8740")],
        *[("7f21", "f040"), ("8e21", "f79f"), ("8f21", "f840"), ("927e", "f9fc")],
    ],
)
def test_what_a_hospital_drew_itself_is_one_character_the_same_as_in_shift_jis(pair: str, shifted: str) -> None:
    read = decode(b"\x1b$B;3" + bytes.fromhex(pair) + b"ED\x1b(B^x", IR87, vr="PN")
    assert read.text == "山" + bytes.fromhex(shifted).decode("cp932") + "田^x"
    assert not read.flags
    assert reply([read.text], ["PN"], IR87)[0] == "ISO_IR 192"


def test_what_a_hospital_drew_itself_beside_jis_x_0212_is_another_character() -> None:
    raw = b"\x1b$(D" + bytes.fromhex("6c3f 7521 7e7e") + b"\x1b(B"
    assert decode(raw, IR159, vr="PN").text == "鷗" + bytes.fromhex("f540 f9fc").decode("cp932")


@pytest.mark.parametrize(("to_kanji", "back"), [(b"\x1b&@\x1b$B", b"\x1b(B"), (b"\x1b$@", b"\x1b(H")])
def test_kanji_are_read_between_escape_sequences_of_other_editions_of_the_japanese_standard(
    to_kanji: bytes, back: bytes
) -> None:
    raw = b"YAMADA^TARO=" + to_kanji + b";3ED" + back + b"^" + to_kanji + b"B@O:" + back
    assert decode(raw, IR87, vr="PN").text == "YAMADA^TARO=山田^太郎"
    assert not decode(raw, IR87, vr="PN").flags


@pytest.mark.parametrize("called", [b"\x1b$B", b"\x1b$(D"])
def test_a_pair_that_stands_for_nothing_is_one_character_and_told_of(called: bytes) -> None:
    read = decode(called + bytes.fromhex("2e5d 2e5f") + b"\x1b(B^x", IR159, vr="PN")
    assert (read.text, set(read.flags)) == ("\ufffd\ufffd^x", {"charset-wrong"})


@pytest.mark.parametrize("name", ["髙橋", "𠮷田", "①", "㈱", "ﾔﾏﾀﾞ"])
def test_what_is_outside_jis_x_0208_goes_out_as_utf_8(name: str) -> None:
    assert reply([name], ["PN"], IR87)[0] == "ISO_IR 192"


@pytest.mark.parametrize("terms", [(), ("ISO_IR 100",), IR87, UTF8], ids=str)
def test_utf_8_with_surrogates_as_java_writes_it_is_read(terms: tuple[str, ...]) -> None:
    raw = "山田^𠮷*".replace("𠮷", "\ud842\udfb7").encode("utf-8", "surrogatepass")
    assert len(raw) == len("山田^𠮷*".encode()) + 2
    assert decode(raw, terms, vr="PN", assumed="SHIFT_JIS" if terms == UTF8 else "").text == "山田^𠮷*"
    assert decode(raw[:-4] + b"*", terms, vr="PN").flags  # one of the two alone stands for nothing


@pytest.mark.parametrize(
    ("raw", "terms", "assumed", "text"),
    [
        ("山田^太郎".encode("cp932"), (), "", "山田^太郎"),
        ("髙橋^①".encode("cp932"), (), "SHIFT_JIS", "髙橋^①"),
        ("山田^太郎".encode("cp932"), ("ISO_IR 100",), "", "山田^太郎"),
        ("山田^太郎".encode(), ("ISO_IR 100",), "", "山田^太郎"),
        ("山田^太郎".encode("cp932"), ("ISO_IR 13",), "", "山田^太郎"),
        (b"\x1b$B;3ED\x1b(B", ("ISO 2022 IR 6",), "", "山田"),
        (b"M\xfcller", (), "", "Müller"),
        (b"\x1b$B;3ED\x1b(B", ("ISO 2020 IR 87",), "", "山田"),
        ("表^能=十".encode("cp932"), ("ISO_IR 13",), "", "表^能=十"),
        (b"\xfb\xfc*", ("ISO_IR 13",), "", "髙*"),  # alone it is two letters of Latin-1 too
        (b"=\xe0Y", ("", "ISO 2022 IR 87"), "", "=澪"),
        (b"\xfa\xb1*", (), "ISO_IR 13", "﨑*"),
        ("François^Jörg".encode("latin-1"), ("", "ISO 2022 IR 87"), "", "François^Jörg"),
        (b"\x1b(IT]\x1b(B^\x1b(I@[3\x1b(B", ("", "ISO 2022 IR 87"), "", "ﾔﾝ^ﾀﾛｳ"),
        (b"\x1b(I\\@E\x1b(J=\x1b$B3*\x1b(B", (), "", "ﾜﾀﾅ=蟹"),
        (b"\x0eTO@^\x0f^\x0e@[3\x0f", (), "", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (b"\x0e:2 :2\x0f*", ("ISO_IR 13",), "", "ｺｲ ｺｲ*"),
        (b"Yamada=\x1b$B;3ED\x1b(B=\x0eTO@^\x0f", IR87, "", "Yamada=山田=ﾔﾏﾀﾞ"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("cp932") + b"\x1b$B;3ED\x1b(J", UTF8, "", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=".encode("cp932") + b"\x1b$B;3ED\x1b(J", ("ISO_IR 100",), "", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田"),
        ("Müller=".encode("latin-1") + b"\x1b$B;3ED\x1b(B", ("ISO_IR 100",), "", "Müller=山田"),
        (b"\x1b$)A" + "陶^喆".encode("gbk"), ("", "ISO 2022 IR 58"), "", "陶^喆"),
        (b"\x1b$)C" + "김^믜".encode("cp949"), ("", "ISO 2022 IR 149"), "", "김^믜"),
        ("陶^喆".encode("gbk"), ("", "ISO 2022 IR 58"), "", "陶^喆"),
        ("김^믜".encode("cp949"), ("", "ISO 2022 IR 149"), "", "김^믜"),
        ("Ünal".encode(), ("", "ISO 2022 IR 58"), "", "Ünal"),
        ("김^희중".encode("euc_kr"), (), "\\ISO 2022 IR 149", "김^희중"),
        ("김^희중".encode("euc_kr"), ("ISO_IR 100",), "\\ISO 2022 IR 149", "김^희중"),
        ("陶^喆".encode("gbk"), (), "\\ISO 2022 IR 58", "陶^喆"),
        ("O’Brien^Seán".encode("cp1252"), ("ISO_IR 100",), "", "O’Brien^Seán"),
        ("L’Hôpital^“Zoë”".encode("cp1252"), (), "", "L’Hôpital^“Zoë”"),
        ("patient’s knee – 2 € …".encode("cp1252"), (), "", "patient’s knee – 2 € …"),
        ("IRM Cœur".encode("cp1252"), ("ISO_IR 100",), "", "IRM Cœur"),
        ("IRM CŒUR".encode("cp1252"), (), "", "IRM CŒUR"),
        ("ÉCHOGRAPHIE FŒTALE".encode("cp1252"), (), "", "ÉCHOGRAPHIE FŒTALE"),
        ("Œdème du genou".encode("cp1252"), ("ISO_IR 100",), "", "Œdème du genou"),
        ("Lecœur^Zoé".encode("cp1252"), ("ISO_IR 100",), "", "Lecœur^Zoé"),
        ("Žižek^Aleš^Žanna".encode("cp1252"), ("ISO_IR 100",), "", "Žižek^Aleš^Žanna"),
        ("Śmigły^Źródło".encode("cp1250"), ("ISO_IR 101",), "", "Śmigły^Źródło"),
        ("Θώρακας – 2 “Α”".encode("cp1253"), ("ISO_IR 126",), "", "Θώρακας – 2 “Α”"),
        ("“שרון”".encode("cp1255"), ("ISO_IR 138",), "", "“שרון”"),
        ("สมชาย – ใจดี".encode("cp874"), ("ISO_IR 166",), "", "สมชาย – ใจดี"),
        ("CT単純".encode("cp932"), ("ISO_IR 100",), "", "CT単純"),
        ("CRP値".encode("cp932"), ("ISO_IR 100",), "", "CRP値"),
        ("CT三DVR".encode("cp932"), ("ISO_IR 100",), "", "CT三DVR"),
        ("A群CT".encode("cp932"), ("ISO_IR 100",), "", "A群CT"),
        ("MRI経時".encode("cp932"), ("ISO_IR 100",), "", "MRI経時"),
        ("外CT".encode("cp932"), (), "", "外CT"),
        ("径mm".encode("cp932"), (), "", "径mm"),
        ("Ikeda^K=池田^健".encode("cp932"), ("ISO_IR 100",), "", "Ikeda^K=池田^健"),
        ("CONCEIÇÃO^JOSÉ".encode("latin-1"), (), "", "CONCEIÇÃO^JOSÉ"),
        ("MÄÄTTÄ^AINO".encode("latin-1"), (), "", "MÄÄTTÄ^AINO"),
        ("CTｱﾝｷﾞｵ^ﾀﾛｳ".encode("cp932"), (), "", "CTｱﾝｷﾞｵ^ﾀﾛｳ"),
        ("たなか^はなこ".encode("euc_jp"), (), "", "たなか^はなこ"),
        ("タナカ^ハナコ*".encode("euc_jp"), ("", "ISO 2022 IR 87"), "", "タナカ^ハナコ*"),
        ("伊藤^康紀".encode("euc_jp"), (), "", "伊藤^康紀"),
        ("岸^梅子".encode("euc_jp"), (), "", "岸^梅子"),
        ("ﾃﾞｨｱｽ･ﾙｳｨｽﾞ^ﾏﾘｰ".encode("cp932"), (), "", "ﾃﾞｨｱｽ･ﾙｳｨｽﾞ^ﾏﾘｰ"),
        ("ｱｲ､ｳ､ｴ｡".encode("cp932"), (), "", "ｱｲ､ｳ､ｴ｡"),
        ("澤".encode("cp932"), (), "", "澤"),
        ("Sawa=澤*".encode("cp932"), ("ISO_IR 192",), "", "Sawa=澤*"),
        ("膵 CT".encode("cp932"), (), "", "膵 CT"),
        ("莉".encode("cp932"), (), "", "莉"),
        ("À DROITE, à gauche, éRIC, él, 1èRE".encode("latin-1"), (), "", "À DROITE, à gauche, éRIC, él, 1èRE"),
        ("ﾅｶ^ﾊﾅ".encode("cp932"), (), "", "ﾅｶ^ﾊﾅ"),
        ("5 µm".encode(), ("ISO_IR 100",), "", "5 µm"),
        ("Łódź".encode(), ("ISO_IR 101",), "", "Łódź"),
        ("иван".encode(), ("ISO_IR 101",), "", "иван"),
    ],
)
def test_missing_and_wrong_labels_are_read_through_and_flagged(
    raw: bytes, terms: tuple[str, ...], assumed: str, text: str
) -> None:
    decoded = decode(raw, terms, vr="PN", assumed=assumed)
    assert decoded.text == text
    assert decoded.flags


def test_no_pattern_repeats_a_group_possessively_which_pythons_before_3_11_5_do_otherwise() -> None:
    repeating = re.compile(r"\)[+*?]\+")
    files = Path(pacs_server.__file__).parent.rglob("*.py")
    assert [path.name for path in files if repeating.search(path.read_text(encoding="utf-8"))] == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([(), ("ISO_IR 100",), IR87, IR13, UTF8, ("nonsense",), ("GBK",)]))
def test_reading_never_fails(raw: bytes, terms: tuple[str, ...]) -> None:
    text = decode(raw, terms, vr="LO").text
    assert "\0" not in text
    text.encode("utf-8")


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc"))), st.sampled_from([(), IR87, IR13, UTF8, ("ISO_IR 100",)])
)
def test_writing_loses_no_character(text: str, terms: tuple[str, ...]) -> None:
    label, (raw,) = reply([text], ["PN"], terms)
    assert decode(raw, declared(label.encode()), vr="PN").text == text


@pytest.mark.parametrize(
    "same",
    [
        ["ヤマダ^タロウ", "ﾔﾏﾀﾞ^ﾀﾛｳ", "やまだ^たろう", "ヤマダ　タロウ", "ヤマダ タロウ"],
        ["オーノ", "オ−ノ", "オ—ノ", "ｵｰﾉ"],
        ["YAMADA^TARO", "yamada^taro", "ＹＡＭＡＤＡ^ＴＡＲＯ", "Yamada Taro"],
        ["ハットリ", "ハツトリ"],
        ["キヤノン", "キャノン"],
        ["ヤマタ゛^ハ゜ク", "ヤマダ^パク", "ﾔﾏﾀﾞ^ﾊﾟｸ", "やまた゛^は゜く", "ヤマタ\u3099^ハ\u309aク"],
        ["葛城", "葛\U000e0100城", "葛城\ufe00", "\ufeff葛城", "葛\u200b城\u200e"],
    ],
)
def test_spellings_of_one_name_are_one_for_search(same: list[str]) -> None:
    assert len({fold(name) for name in same}) == 1


@pytest.mark.parametrize(
    "distinct",
    [
        ["渡邊", "渡邉", "渡辺"],
        ["髙橋", "高橋"],
        ["オオノ", "オーノ"],
        ["神", "\ufa19"],
        ["𠮷田", "吉田"],
        ["smith-jones", "smithーjones"],
    ],
)
def test_names_of_different_characters_stay_distinct_for_search(distinct: list[str]) -> None:
    assert len({fold(name) for name in distinct}) == len(distinct)


def test_the_three_groups_are_told_apart_and_searched_together() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert groups(name) == ("Yamada^Tarou", "山田^太郎", "やまだ^たろう")
    assert search_text(name).count("=") == 4
    assert fold("山田^太郎") in search_text(name)
    assert search_text("") == search_text("^^==") == ""
