"""A number has one value in every spelling and with any unit; other words are not units."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymathreason import quantity
from tinymathreason.quantity import LONGEST, is_statement, is_unit, read
from tinymathreason.spelling import normalise, plain_digits

UNITS = [
    *("apples", "square feet", "dollars per hour", "cups of flour", "years old", "more apples"),
    *("sq. ft.", "foot-pounds", "times", "times a week", "dollars each", "in all", "clips in May"),
    *("cm", "cm^2", "km/h", "m/s", "m", "m/s^{2}", "kg*m/s", "miles/hour", "hr.", "mi\u00b2"),
    *("\u00b0C", "\u2103", "\u00b0 F", "\u00ba", r"^\circ", r"^{\circ}\text{C}", r"\degree"),
    *(r"\text{ cm}^2", r"\mathrm{~cm}", r"~\mbox{km}/\mbox{h}", r"\text{ h}", r"\,\text{m}"),
    *("%", r"\%", "percent", "per cent", "\u20ac", "$", r"\$", "\u00a2", "seconds", "second"),
]
STATEMENTS = [
    *("halves", "half", "thirds", "third", "quarters", "fifths", "tenths", "hundredths"),
    *("ten thousandths", "ten-thousandths", "twentieths", "millionth", "tens", "hundreds"),
    *("squared", "cubed", r"\text{ squared}", "factorial", "doubled", "plus two", "minus one"),
    *("divided by two", "times three", "times as many", "times x", "root two", "mod seven"),
    *("less than twelve", "more than six", "or more", "at least", "at most", "to one", ":1"),
    *(" : 1", r"\colon 1", "and a half", "or six", "not six", "but not six", "because of x"),
    *("th", r"^{\text{th}}", "p.m.", "pm", "a.m.", r"\text{ p.m.}", "noon", "oclock", "fold"),
    *("sixfold", "_2", "\u2082", "base two", "ten-dollar bills", "below zero", "from ten", "'"),
    *("thousand million", "feet 6 inches", "1/2 1/2", "\u2013 7", "out of ten", "grand", "mil"),
]
CHANGING = [statement for statement in STATEMENTS if statement not in ("at most", "at least")]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("number", ["5", "-1,234.50", "1/2", r"\frac{3}{4}"])
def test_a_unit_leaves_the_value(number: str, unit: str) -> None:
    value = read(normalise(number)).value
    if not unit.startswith(("~", r"\,")):
        assert read(normalise(f"{number} {unit}")).value == value
    if unit[0] in "~\\^%$\u00b0\u2103\u00ba\u20ac\u00a2":
        assert read(normalise(number + unit)).value == value


@pytest.mark.parametrize("statement", STATEMENTS)
@given(number=st.integers(-(10**6), 10**6))
def test_what_is_more_than_a_unit_makes_no_number(statement: str, number: int) -> None:
    for text in (f"{number} {statement}", f"{number}{statement}"):
        result = read(normalise(text))
        assert result is None or result.value != number, text


@given(st.sampled_from(sorted(quantity._STATEMENT)), st.sampled_from(["{}", "{} apples", "red {}"]))
def test_no_listed_word_is_in_a_unit(word: str, phrase: str) -> None:
    text = normalise(f"5 {phrase.format(word)}")
    result = read(text)
    if result is None:
        assert is_statement(text)
    else:
        assert word in quantity.FACTORS
        assert result.value == 5 * quantity.FACTORS[word]


numbers = st.integers(-(10**12), 10**12) | st.fractions(max_denominator=10**6)


@given(numbers)
def test_spellings_of_one_value(number) -> None:
    number = Fraction(number)
    over, under = number.numerator, number.denominator
    spellings = [str(number), rf"\frac{{{over}}}{{{under}}}", str(number).replace("-", "\u2212")]
    spellings += [str(number).replace("-", dash) for dash in "\u2010\u2011\u2012\u2013\ufe63\uff0d"]
    spellings += [f"{over}\u2044{under}", f"{over}\u2215{under}"]
    if under == 1:
        grouped = f"{over:,}"
        spaces = [" ", "\u00a0", "\u2009", "\u202f", "{,}", r"\,", r",\!"]
        spellings += [grouped, *(grouped.replace(",", space) for space in spaces)]
        spellings += [
            f"{over}e0",
            f"{over}0e-1",
            rf"{over} \times 10^{{0}}",
            f"{over}\u00d710\u2070",
        ]
        spellings += [f"{over} \u20ac", f"\u20ac{over}", rf"\${over}", f"{over}.00"]
    for text in spellings:
        assert read(normalise(text)).value == number, text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\u00bd", Fraction(1, 2)),
        ("3\u00bd cups", Fraction(7, 2)),
        ("\u2154", Fraction(2, 3)),
        ("\u2189", 0),
        ("3 1/2", Fraction(7, 2)),
        ("1 123/456", 1 + Fraction(123, 456)),
        ("1e3", 1000),
        ("10^3", 1000),
        ("10\u00b3", 1000),
        ("10\u207b\u00b2", Fraction(1, 100)),
        ("3\u00d710\u2078 m/s", 3 * 10**8),
        (r"1.5 \cdot 10^{-3}", Fraction(15, 10**4)),
        ("2 dozen eggs", 24),
        ("1/2 dozen", 6),
        ("$1.5 million", 1_500_000),
        ("5 lakh", 500_000),
        ("-$5", -5),
        ("$-5", -5),
        (r"-\frac{-1}{2}", Fraction(1, 2)),
        ("five", None),
        ("a half", None),
        ("5 6", None),
        ("12 34", None),
        ("1 2345", None),
        ("1,2", None),
        ("5m", None),
        ("5 x", None),
        ("5/x", None),
        ("5/m", None),
        ("5 h", None),
        ("5k", None),
        ("1/0", None),
        ("0.5.1", None),
        ("3\u20135", None),
        ("\u0665", None),
        ("\uff15", None),
        ("4\u200b2", None),
        ("", None),
        ("1" * (LONGEST + 1), None),
    ],
)
def test_values(text: str, value: Fraction | None) -> None:
    result = read(normalise(text))
    assert (result and result.value) == value


def test_what_a_number_is_written_as() -> None:
    assert read("$1,234.50 an hour").digits == "1234.50"
    assert read("- 18.").digits == "-18"
    assert read("1/2").digits is read("1e3").digits is read("2 dozen").digits is None
    assert read("50 per cent").is_percent
    assert read(r"50\%").is_percent
    assert not read("50 cents").is_percent


def test_statements_are_distinguished_from_formulas() -> None:
    assert not any(map(is_statement, ["2x+1", "3abc", "x=5", "2^{10}", r"2\sqrt{3}", "5", "(0,1)"]))
    assert not is_statement(r"2 \text{ or } 3")
    assert is_statement(r"\sqrt{2} thousand")
    assert is_statement("5 squared")


@given(
    st.text(st.sampled_from("5 ,.abe/^{}\\%$\u00b0\u00bd\u00b2\u221a(\u2013\u00a0~"), max_size=30)
)
def test_a_text_in_one_spelling_stays_so(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert is_unit(text) in (True, False)
    assert is_statement(text) in (True, False)
    read(text)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("2\u221a3", r"2\sqrt{3}"),
        ("\u221a(x+1)", r"\sqrt{x+1}"),
        ("\u221a{2}", r"\sqrt{2}"),
        ("\u221b8", r"\sqrt[3]{8}"),
        ("x\u00b2\u207b\u207f", "x^{2-n}"),
        ("a\u2081\u2080", "a_{10}"),
        ("\u03c0r\u00b2", r"\pi r^{2}"),
        ("x \u2264 2", r"x \le  2"),
        ("pages 3\u20135", "pages 3\u20135"),
        ("the answer\u20145", "the answer\u20145"),
        ("x\u22125", "x-5"),
        ("1{,}234{,}567 and 1{,}2", "1,234,567 and 1{,}2"),
    ],
)
def test_one_spelling(text: str, spelled: str) -> None:
    assert normalise(text) == spelled


def test_digits_alone_are_mended_in_running_text() -> None:
    assert (
        plain_digits("18 cm\u00b3 of 1\u202f234 at \u20133\u00b0")
        == "18 cm\u00b3 of 1,234 at -3\u00b0"
    )
