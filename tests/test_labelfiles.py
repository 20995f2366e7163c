"""Class names are read from every form in which people keep them, and from no other."""

import json

import pytest

from edgeworthy.errors import ClassNamesError
from edgeworthy.labelfiles import MAX_BYTES, read_class_names

GUIDE = '["tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark"]'


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("names.txt", "cat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("names.txt", "\ufeffcat\ndög", ("cat", "dög")),
        ("list.json", GUIDE, ("tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark")),
        ("object.json", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("keras.json", '{"0": ["n01", "cat"], "1": ["n02", "dog"]}', ("cat", "dog")),
        ("to_idx.json", '{"dog": 1, "cat": 0}', ("cat", "dog")),
        ("head.csv", "name,id\ndog,1\ncat,0\n", ("cat", "dog")),
        ("plain.csv", '0,cat\n1,"dog, big"\n', ("cat", "dog, big")),
        ("plain.tsv", "cat\t0\ndog\t1\n", ("cat", "dog")),
        ("one.csv", "cat\ndog\n", ("cat", "dog")),
    ],
)
def test_forms(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_class_names(str(tmp_path / name)).names == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b"cat\n\ndog", "1 '' is empty"),
        ("a.txt", b"cat\0dog", "binary"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", b"cat;dog\nhorse", 'contains ";"'),
        ("a.txt", b"cat\ncat", "stands at 0, 1"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[" * 100_000, "not JSON"),
        ("a.json", b'["cat", 3]', "entry 1 is '3'"),
        ("a.json", b'"cat"', "holds str"),
        ("a.json", b'{"0": "cat", "2": "dog"}', "id 1 is missing"),
        ("a.json", b'{"zero": "cat"}', "no class id"),
        ("a.csv", b"id,name\n0,cat\n0,dog\n", "id 1 is missing"),
        ("a.csv", b"a,b,c\n1,2,3\n", "which are ids and names"),
        ("a.csv", b"name,id\ncat\n", "too short"),
    ],
)
def test_refusals_name_the_entry(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ClassNamesError, match=message):
        read_class_names(str(tmp_path / name))


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "huge.txt").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ClassNamesError, match="16 MiB"):
        read_class_names(str(tmp_path / "huge.txt"))


def test_what_is_not_there_says_what_could_be(tmp_path):
    with pytest.raises(ClassNamesError, match="imagenet-1k"):
        read_class_names("imagenet")


def test_folders_are_sorted_as_imagefolder_sorts_them(tmp_path):
    for name in ("b", "a", "B", "10", "9"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.txt").touch()
    assert read_class_names(str(tmp_path)).names == ("10", "9", "B", "a", "b")


def test_names_are_repaired_when_asked(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(["a:b", "a-b", " "]))
    assert read_class_names(str(tmp_path / "a.json"), fix=True).names == ("a-b", "a-b (1)", "class 2")


def test_imagenet_is_whole_and_unique():
    names = read_class_names("imagenet-1k")
    assert len(names) == 1000
    assert len({name.casefold() for name in names}) == 1000
    assert (names[967], names[281]) == ("espresso", "tabby")


@pytest.mark.parametrize(
    "content",
    [
        "label,name\n0,cat\n1,dog\n",
        "ClassId,Name\n1,dog\n0,cat\n",
        "class,label\n1,dog\n0,cat\n",
        "label_id,label\n1,dog\n0,cat\n",
        "name,count,id\ndog,77,1\ncat,93,0\n",
    ],
)
def test_ids_are_found_whatever_the_columns_are_called(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    assert read_class_names(str(tmp_path / "a.csv")).names == ("cat", "dog")


@pytest.mark.parametrize("content", ["name,description\ncat,a cat\n", "label,name,id\ncat,Felis,0\n"])
def test_two_columns_of_names_are_asked_about(tmp_path, content):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ClassNamesError, match="which are ids and names"):
        read_class_names(str(tmp_path / "a.csv"))


def test_only_line_ends_end_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("a\u2028b\nc\u0085d\r\n", encoding="utf-8", newline="")
    assert read_class_names(str(tmp_path / "a.txt"), fix=True).names == ("a b", "c d")


def test_a_key_that_stands_twice_in_json_is_told(tmp_path):
    (tmp_path / "a.json").write_text('{"0": "cat", "0": "dog", "1": "horse"}')
    with pytest.raises(ClassNamesError, match="'0' stands twice"):
        read_class_names(str(tmp_path / "a.json"))


def test_hidden_folders_are_no_classes(tmp_path):
    for name in ("cat", "dog", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    assert tuple(read_class_names(str(tmp_path))) == ("cat", "dog")
