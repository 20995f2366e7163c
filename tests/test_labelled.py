"""Labels are read from folders and tables, and understood as names, ids or synsets; the rest is named."""

import csv
import os

import pytest
from PIL import Image

from edgeworthy.errors import ImageError, OptionError
from edgeworthy.labelfiles import read_listed
from edgeworthy.labelled import Labelled, read_labelled, resolve

NAMES = ("Cat", "hot dog", "horse")


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_class_folders(tmp_path):
    """With their subfolders; hidden and empty ones, and those without pictures, are no classes."""
    deep = picture(tmp_path / "dog" / "2024" / "b.png")
    shallow = picture(tmp_path / "cat" / "a.png")
    picture(tmp_path / ".cache" / "c.png")
    picture(tmp_path / "loose.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "read.me").write_text("hello")
    assert read_labelled(tmp_path) == [Labelled(str(shallow), "cat"), Labelled(str(deep), "dog")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "label,path\ncat,x/1.png\ndog,2.png\n"),
        ("a.csv", "\ufeffFile Name,Class Name,note\nx/1.png,cat,good\n2.png,dog,bad\n"),
        ("a.tsv", "image\ttarget\nx/1.png\tcat\n\n2.png\tdog\n"),
    ],
)
def test_tables_name_paths_beside_them(tmp_path, name, text):
    table = tmp_path / name
    table.write_text(text, encoding="utf-8")
    expected = [Labelled(str(tmp_path / "x" / "1.png"), "cat"), Labelled(str(tmp_path / "2.png"), "dog")]
    assert read_labelled(table) == expected


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"filepath": ["/x/1.png", "2.png"], "label": [0, 2], "width": [1, 2]}), table)
    assert read_labelled(table) == [Labelled("/x/1.png", "0"), Labelled(str(tmp_path / "2.png"), "2")]


def test_columns_can_be_named(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("path,where,label,what\na,1.png,b,cat\n")
    assert read_labelled(table, path_column="where", label_column="what") == [
        Labelled(str(tmp_path / "1.png"), "cat")
    ]


def test_a_column_that_is_called_as_it_should_be_counts_more_than_others(tmp_path):
    (tmp_path / "a.csv").write_text("file,path,label,class\nno.png,1.png,cat,dog\n")
    assert read_labelled(tmp_path / "a.csv") == [(str(tmp_path / "1.png"), "cat")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"path,label\n", "has no rows"),
        ("a.csv", b"path,label\n1.png,\n", "row 2 has no path or no label"),
        ("a.csv", b"path,label\n1.png,cat\n2.png\n", "row 3"),
        ("a.csv", b"what,label\n1.png,cat\n", "no column of paths; its columns are what, label"),
        ("a.csv", b"path,target,class\n1.png,cat,dog\n", "several columns of labels"),
        ("a.csv", b"path,label\nblack, tan.jpg,3\n", "row 2 has 3 fields, the header 2"),
        ("a.csv", b"\xff\xfe\x00", "cannot be read"),
        ("a.parquet", b"PAR1 and no more", "cannot be read"),
        ("a.txt", b"1.png cat", "is no table of labelled pictures"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, name, content, message):
    table = tmp_path / name
    table.write_bytes(content)
    with pytest.raises(OptionError, match=message):
        read_labelled(table)


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match="is not there"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="no folders of pictures"):
        read_labelled(tmp_path)


def test_labels_are_names_whatever_their_case_and_spaces():
    found = resolve(["cat", "Hot_Dog", "horse", "mule"], NAMES, who="m.onnx")
    assert (found.scheme, found.ids) == ("name", {"cat": 0, "Hot_Dog": 1, "horse": 2})
    assert (found.unknown, found.absent) == (("mule",), ())


def test_an_exact_name_wins_over_a_similar_one():
    found = resolve(["cat", "Cat"], ("cat", "Cat"), who="m.onnx")
    assert found.ids == {"cat": 0, "Cat": 1}
    assert resolve(["CAT", "cat"], ("cat", "Cat"), who="m.onnx").unknown == ("CAT",)  # which of them?


def test_labels_are_ids():
    found = resolve(["0", "2", "3"], NAMES, who="m.onnx")
    assert (found.scheme, found.ids, found.unknown) == ("index", {"0": 0, "2": 2}, ("3",))
    assert found.absent == ("hot dog",)


def test_digits_that_are_names_are_names():
    """MNIST's classes in another order."""
    found = resolve(["0", "1"], ("1", "0"), who="m.onnx")
    assert (found.scheme, found.ids) == ("name", {"0": 1, "1": 0})


def test_labels_are_synsets():
    imagenet = read_listed("imagenet-1k")
    found = resolve(["n01440764", "n15075141", "n99999999"], imagenet, who="m.onnx")
    assert (found.scheme, found.unknown) == ("synset", ("n99999999",))
    assert [imagenet[found.ids[label]] for label in ("n01440764", "n15075141")] == ["tench", "toilet tissue"]
    few = resolve(["n01440764", "n15075141"], ("toilet tissue", "sofa", "Tench"), who="m.onnx")
    assert few.ids == {"n01440764": 2, "n15075141": 0}


def test_a_model_of_other_classes_is_refused():
    with pytest.raises(OptionError, match=r"m\.onnx knows none of the 2 labels: 'mule', 'pony'"):
        resolve(["mule", "pony"], NAMES, who="m.onnx")
    with pytest.raises(OptionError, match="names no classes: let edgeworthy repair write them in"):
        resolve(["mule", "pony"], ("0", "1"), who="m.onnx")


def test_the_synsets_table_is_imagenets(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "wnid"], ["1.png", "n02123045"]])
    (example,) = read_labelled(path)
    imagenet = read_listed("imagenet-1k")
    assert imagenet[resolve([example.label], imagenet, who="m").ids[example.label]] == "tabby"


def test_semicolons_and_ids_with_a_point(tmp_path):
    """As spreadsheets and tables with gaps write them."""
    table = tmp_path / "a.csv"
    table.write_text("path;label\n1.png;0.0\n2.png;2.0\n")
    labels = [example.label for example in read_labelled(table)]
    found = resolve(labels, NAMES, who="m.onnx")
    assert (found.scheme, found.ids) == ("index", {"0.0": 0, "2.0": 2})
    assert resolve(["1.5", "1"], NAMES, who="m.onnx").unknown == ("1.5",)


def test_a_column_that_is_there_twice_is_no_answer(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("path,path,label\n1.png,2.png,cat\n")
    with pytest.raises(OptionError, match="several columns 'path'"):
        read_labelled(table, path_column="path")


def test_a_class_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    """Its pictures would be missing, and the figures too good."""
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / "dog" / "2.png")
    scan = os.scandir

    def refuse(place):
        if str(place).rstrip("/").endswith("dog"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"dog/ cannot be read: Permission denied"):
        read_labelled(tmp_path)
