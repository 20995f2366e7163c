"""Parquet files give a picture for each row, from bytes or paths, and only a few rows are read at a time."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgeworthy.errors import ImageError, MissingExtraError, OptionError
from edgeworthy.images import open_picture
from edgeworthy.pictures import list_pictures
from tests.factory import classifier_file


def encoded(level):
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), (level, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def write(path, columns, **details):
    pq.write_table(pa.table(columns), path, **details)
    return path


def levels(pictures):
    return [open_picture(picture).getpixel((0, 0))[0] for picture in pictures]


BYTES = [encoded(level) for level in range(50)]
STRUCTS = [{"bytes": content, "path": None} for content in BYTES]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(BYTES),
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES).dictionary_encode(),
        pa.array(STRUCTS, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    ],
    ids=lambda column: str(column.type)[:10],
)
def test_each_row_is_a_picture(tmp_path, column):
    file = write(tmp_path / "a.parquet", {"image": column, "label": list(range(50))}, row_group_size=20)
    pictures = list_pictures([file])
    assert pictures.total == 50
    assert [picture.name for picture in pictures] == [f"{file}:{row}" for row in range(50)]
    assert levels(pictures) == list(range(50))
    for start in (0, 1, 19, 20, 41, 49, 50, 60):
        assert levels(pictures.since(start)) == list(range(50))[start:]


def test_files_and_tables_stand_side_by_side(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(77))
    file = write(tmp_path / "t.PARQUET", {"img": BYTES[:3]})
    pictures = list_pictures([tmp_path / "a.png", file, f"{tmp_path}/*.PARQUET", tmp_path])
    assert levels(pictures) == [77, 0, 1, 2, 0, 1, 2, 77]
    assert pictures.total == 8
    assert levels(pictures.since(2)) == [1, 2, 0, 1, 2, 77]


def test_paths_are_those_of_the_working_directory_or_of_the_tables_folder(tmp_path, monkeypatch):
    for folder, level in (("here", 1), ("data", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "both.png").write_bytes(encoded(level))
    (tmp_path / "data" / "beside.png").write_bytes(encoded(3))
    paths = ["both.png", "beside.png", str(tmp_path / "data" / "both.png"), "absent.png"]
    file = write(tmp_path / "data" / "t.parquet", {"path": paths, "label": ["x"] * 4})
    monkeypatch.chdir(tmp_path / "here")
    pictures = list(list_pictures(["../data/t.parquet"]))
    assert [picture.name for picture in pictures] == [
        "both.png", "../data/beside.png", str(tmp_path / "data" / "both.png"), "absent.png",
    ]  # fmt: skip
    assert levels(pictures[:3]) == [1, 3, 2]
    with pytest.raises(ImageError, match=r"absent\.png is not there"):
        open_picture(pictures[3])
    assert file.exists()


def test_hugging_faces_struct_may_have_a_path_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(9))
    rows = [{"bytes": None, "path": "a.png"}, {"bytes": BYTES[5], "path": "named.png"}]
    file = write(tmp_path / "t.parquet", {"photo_of_it": rows})
    pictures = list(list_pictures([file]))
    assert [picture.name for picture in pictures] == [str(tmp_path / "a.png"), f"{file}:1"]
    assert levels(pictures) == [9, 5]


@pytest.mark.parametrize(
    ("columns", "asked", "chosen"),
    [
        ({"thumb": BYTES, "Image": BYTES}, None, "Image"),
        ({"thumb": BYTES, "path": ["a"] * 50}, None, "path"),
        ({"thumb": BYTES, "text": ["a"] * 50}, None, "thumb"),
        ({"thumb": BYTES, "image": BYTES}, "thumb", "thumb"),
        ({"text": ["a"] * 50, "image": BYTES}, "text", "text"),
        ({"a.b": BYTES, "n": [1] * 50}, None, "a.b"),
    ],
)
def test_the_column_is_chosen_by_type_and_name(tmp_path, columns, asked, chosen):
    from edgeworthy.pictures.parquet import Table

    table = Table(str(write(tmp_path / "t.parquet", columns)), asked)
    assert table.column == chosen
    assert len(list(table.pictures())) == 50


@pytest.mark.parametrize(
    ("columns", "asked", "said"),
    [
        ({"n": [1]}, None, r"does not say which column .* n \(int64\)"),
        ({"text": ["a"]}, None, r"does not say which column .* text \(string\)"),
        ({"img": BYTES[:1], "image": BYTES[:1]}, None, r"pictures in 'img' or 'image'"),
        ({"path": ["a"], "file": ["a"]}, None, r"pictures in 'path' or 'file'"),
        ({"x": BYTES[:1], "y": BYTES[:1]}, None, r"pictures in 'x' or 'y'"),
        ({"image": BYTES[:1]}, "picture", r"no column 'picture'; its columns are: image \(binary\)"),
        ({"image": BYTES[:1], "n": [1]}, "n", r"no bytes and no paths in its column 'n'"),
        ({f"c{number}": [1] for number in range(30)}, None, r"and 10 more"),
    ],
)
def test_an_open_question_is_asked(tmp_path, columns, asked, said):
    with pytest.raises(OptionError, match=said) as caught:
        list_pictures([write(tmp_path / "t.parquet", columns)], column=asked)
    assert "--column" in caught.value.hint


def test_what_is_no_table_says_so(tmp_path):
    (tmp_path / "text.parquet").write_text("PAR1 hello")
    (tmp_path / "empty.parquet").touch()
    whole = write(tmp_path / "whole.parquet", {"image": BYTES}).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-10])
    (tmp_path / "list.txt").write_text(f"{tmp_path}/absent.parquet\n")
    for name in ("text.parquet", "empty.parquet", "cut.parquet", "absent.parquet"):
        with pytest.raises(ImageError, match=name):
            list_pictures([tmp_path / name])
    with pytest.raises(ImageError, match="is not there"):
        list_pictures([f"@{tmp_path}/list.txt"])
    none = write(tmp_path / "none.parquet", {"image": pa.array([], pa.binary())})
    with pytest.raises(ImageError, match="The table has no pictures"):
        list_pictures([none])
    with pytest.raises(OptionError, match=r"No Parquet file .* 'image'"):
        list_pictures([tmp_path / "list.txt"], column="image")


def test_bad_rows_stop_nothing(tmp_path):
    """A null, an empty one, no picture, and a row group that is damaged."""
    images = [BYTES[1], None, b"", b"no picture", BYTES[2]]
    file = write(tmp_path / "t.parquet", {"image": images * 3}, row_group_size=5, compression="none")
    content = bytearray(file.read_bytes())
    start = pq.ParquetFile(file).metadata.row_group(1).column(0)
    at = start.dictionary_page_offset or start.data_page_offset
    content[at : at + 30] = bytes([255]) * 30
    file.write_bytes(content)
    pictures = list(list_pictures([file]))
    assert [picture.name for picture in pictures] == [f"{file}:{row}" for row in range(15)]
    for row, picture in enumerate(pictures):
        if row in {0, 4, 10, 14}:
            open_picture(picture)
            continue
        with pytest.raises(ImageError, match=f"t.parquet:{row} (is empty|is no picture|cannot be read)"):
            open_picture(picture)


def test_a_row_group_of_many_megabytes_is_not_held(tmp_path):
    noise = np.random.default_rng(0)
    rows = [noise.bytes(2**20) for _ in range(150)]
    file = write(tmp_path / "t.parquet", {"image": rows}, row_group_size=150, compression="none")
    del rows
    code = (
        "import resource, sys; from edgeworthy.pictures import list_pictures\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "pictures = list_pictures(sys.argv[1:]); before = peak()\n"
        "assert sum(1 for _ in pictures) == 150\n"
        "print((peak() - before) / 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 75


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[parquet\]"'):
        list_pictures([tmp_path / "t.parquet"])


def test_predict_names_rows_and_imports_pyarrow_only_then(tmp_path):
    model = classifier_file(tmp_path / "m.onnx")
    file = write(tmp_path / "t.parquet", {"image": [BYTES[200 % 50], None, BYTES[3]]})
    (tmp_path / "a.png").write_bytes(BYTES[0])
    code = (
        "import sys; from edgeworthy.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    print(done.code)\n"
        "print(sorted({'pyarrow', 'av'} & set(sys.modules)))"
    )

    def lines(*words):
        command = [sys.executable, "-c", code, "predict", str(model), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.splitlines()

    assert lines("a.png")[-2:] == ["0", "[]"]
    *rows, code_, imported = lines("t.parquet", "--json", "--column", "image")
    assert (code_, imported) == ("1", "['pyarrow']")
    assert [json.loads(row)["path"] for row in rows] == ["t.parquet:0", "t.parquet:1", "t.parquet:2"]
    assert lines("t.parquet", "-o", "rows.csv", "--annotate", "drawn", "--sheet", "sheet.png")[-2] == "1"
    found = list(csv.DictReader((tmp_path / "rows.csv").read_text("utf-8").splitlines()))
    assert [row["path"] for row in found if row["rank"] in {"", "1"}] == [
        f"t.parquet:{row}" for row in range(3)
    ]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["t-0.jpg", "t-2.jpg"]
    assert (tmp_path / "sheet.png").exists()
    assert file.exists()
