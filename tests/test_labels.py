"""Class names that the platform can carry, and documented repairs for the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeworthy.errors import ClassNamesError
from edgeworthy.labels import MAX_NAME_BYTES, ClassNames, join_entries, name_defect, split_entries


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is empty"),
        (("cat", "dog;wolf"), "1 'dog;wolf' contains \";\""),
        (("cat:tabby", "dog"), "0 'cat:tabby' contains \":\""),
        (("", "dog"), "0 '' is empty"),
        ((" ", "dog"), "is empty"),
        (("cat", "dog", "cat"), "'cat' stands at 0, 2"),
        (("cat\0", "dog"), "control character"),
        (("\ud800", "dog"), "not valid Unicode"),
        (("c" * 1025, "dog"), "longer than 1024 bytes"),
    ],
)
def test_offending_entries_are_named(names, message):
    with pytest.raises(ClassNamesError) as caught:
        ClassNames(names)
    assert message in str(caught.value)


def test_many_defects_are_counted():
    with pytest.raises(ClassNamesError, match=r"9 of 9 .* and 4 more"):
        ClassNames(tuple(f"a;{i}" for i in range(9)))


@pytest.mark.parametrize(
    ("names", "repaired"),
    [
        (["a;b", "c:d"], ("a,b", "c-d")),
        (["  a \t b\n", "c"], ("a b", "c")),
        (["", "x"], ("class 0", "x")),
        (["x", "x", "x"], ("x", "x (1)", "x (2)")),
        (["x (1)", "x", "x"], ("x (1)", "x", "x (2)")),
        (["x", "x (1)", "x"], ("x", "x (1)", "x (2)")),
        (["é" * 600, "y"], ("é" * 504, "y")),
        (["tench, Tinca tinca", "jack-o'-lantern"], ("tench, Tinca tinca", "jack-o'-lantern")),
    ],
)
def test_repairs_follow_the_documented_rules(names, repaired):
    assert ClassNames.repaired(names).names == repaired


@given(st.lists(st.text(alphabet=st.characters()), min_size=1, max_size=12))
def test_whatever_is_repaired_can_be_carried_and_read_back(names):
    repaired = ClassNames.repaired(names)
    assert len(repaired) == len(names)
    assert split_entries(join_entries(repaired)) == list(enumerate(repaired))
    assert all(len(name.encode()) <= MAX_NAME_BYTES for name in repaired)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True))
def test_good_names_stay_as_they_are(names):
    good = [name for name in names if not name_defect(name) and name == " ".join(name.split())]
    if good:
        assert ClassNames.repaired(good).names == tuple(good)


def test_names_are_a_sequence():
    names = ClassNames(("cat", "dog"))
    assert (len(names), names[1], list(names)) == (2, "dog", ["cat", "dog"])


def test_long_names_that_repeat_are_cut_again():
    names = ClassNames.repaired(["x" * 1022, "x" * 1022])
    assert len(names[0]) == 1022
    assert names[1].endswith("x (1)")
