"""Inputs become pictures in a settled order, and few of them are in memory at any time."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgeworthy.errors import ImageError, MissingExtraError, TargetError
from edgeworthy.images import open_picture
from edgeworthy.pictures import list_pictures, spool
from edgeworthy.pictures.spool import Spool, in_order
from tests.factory import classifier_file


def names(inputs):
    return [picture.name for picture in list_pictures(inputs)]


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_inputs_are_files_folders_and_patterns(tmp_path):
    touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", ".hidden.png", ".hidden/d.png", "notes.txt")
    assert [Path(name).name for name in names([tmp_path])] == ["a.png", "b.JPG", "c.webp"]
    assert names([f"{tmp_path}/*.png"]) == [str(tmp_path / "a.png")]
    assert names([tmp_path / "notes.txt"]) == [str(tmp_path / "notes.txt")]
    (tmp_path / "empty").mkdir()
    for nothing in (f"{tmp_path}/*.gif", tmp_path / "empty"):
        with pytest.raises(ImageError, match="no pictures"):
            list_pictures([nothing])


def test_the_order_is_that_of_sorted_paths(tmp_path, monkeypatch):
    """Also where they are sorted a few at a time."""
    monkeypatch.chdir(tmp_path)
    files = [
        "a/z.png",
        "a.b/c.png",
        "a.png",
        "a b/x.png",
        "B.png",
        "a/b/c.png",
        "a-1.png",
        "ä.png",
        "a/b.png",
    ]
    touch(tmp_path, *files)
    expected = list(map(str, sorted(map(Path, files))))
    for run in (2, 3, 100):
        monkeypatch.setattr(spool, "_RUN", run)
        assert names(["."]) == expected
        assert names([tmp_path]) == [str(tmp_path / name) for name in expected]
        assert names(["**/*.png"]) == expected
        assert names(["./a/../a//*.png"]) == ["a/../a/b.png", "a/../a/z.png"]


def test_links_are_followed_and_each_folder_is_read_once(tmp_path):
    touch(tmp_path, "here/a.png", "here/deep/c.png", "elsewhere/b.png", "elsewhere/more/d.png")
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "link.png").symlink_to(elsewhere / "b.png")
    (here / "loop.png").symlink_to("loop.png")
    (here / "second").symlink_to(elsewhere)
    (here / "folder").symlink_to(elsewhere)
    (here / "again").symlink_to(here / "deep")
    (here / "deep" / "up").symlink_to(here)
    (elsewhere / "more" / "back").symlink_to(here)
    (here / "nowhere").symlink_to(tmp_path / "gone")
    found = [str(Path(name).relative_to(here)) for name in names([here])]
    assert found == ["a.png", "deep/c.png", "folder/b.png", "folder/more/d.png", "link.png"]


def test_a_list_that_is_no_text_is_told_once(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\nb.png\n", "utf-16")
    with pytest.raises(ImageError, match=r"is no text in UTF-8: line 1 holds a zero byte"):
        names([f"@{tmp_path / 'list.txt'}"])


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 3000])
def test_a_spool_gives_back_what_it_took(count, monkeypatch):
    """As often as wanted, by several readers, on the disk as in memory; also what is no text."""
    texts = [f"{number}\n\0é{os.fsdecode(bytes([255]))}" for number in range(count)]
    for most in (0, 2**20):
        monkeypatch.setattr(spool, "_IN_MEMORY_BYTES", most)
        held = Spool(texts)
        assert len(held) == count
        assert list(zip(held, held, strict=True)) == list(zip(texts, texts, strict=True))
        assert list(in_order(iter(texts), lambda text: text)) == sorted(texts)


def test_a_full_disk_is_told(monkeypatch):
    class Full:
        def __init__(self, **details):
            pass

        def seek(self, offset):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr(spool.tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(TargetError, match="No space left on device"):
        Spool(map(str, range(1000)))


def test_a_name_that_is_too_long_is_a_picture_that_cannot_be_read(tmp_path):
    model = classifier_file(tmp_path / "m.onnx")
    words = [sys.executable, "-m", "edgeworthy", "predict", str(model), "x" * 5000, "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "too long" in done.stdout
    assert done.stderr == ""


PEAK = (
    "import resource, sys; from edgeworthy.cli import main\n"
    "try:\n    main()\nexcept SystemExit:\n    pass\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)


def test_memory_does_not_grow_with_the_list(tmp_path):
    """The peak of 30 times as many pictures is within a tenth, also where each fails for another reason."""
    model = classifier_file(tmp_path / "m.onnx")
    Image.new("RGB", (16, 12), "red").save(tmp_path / "a.png")
    peaks = []
    for count in (1_000, 30_000):
        lines = [str(tmp_path / "a.png")] + [f"{tmp_path}/absent/{number:08}.png" for number in range(count)]
        (tmp_path / "list.txt").write_text("\n".join(lines))
        words = ["predict", str(model), f"@{tmp_path / 'list.txt'}", "-o", str(tmp_path / f"{count}.csv")]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True
        )
        assert f"{count} of {count + 1} pictures could not be read" in done.stderr
        peaks.append(int(done.stderr.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0]


@pytest.fixture
def store():
    """Object storage in memory."""
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    content = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(content, "PNG")
    for name in ("b.png", "deep/a.png", ".hidden/c.png", "notes.txt"):
        system.pipe(f"/photos/{name}", content.getvalue())
    yield system
    system.rm("/photos", recursive=True)


def test_addresses_are_files_folders_and_patterns(store, tmp_path):
    names = [picture.name for picture in list_pictures(["memory://photos"])]
    assert names == ["memory:///photos/b.png", "memory:///photos/deep/a.png"]
    assert [p.name for p in list_pictures(["memory://photos/*.png"])] == ["memory:///photos/b.png"]
    (tmp_path / "list.txt").write_text("memory://photos/b.png\nphotos//x.png\n")
    listed = [picture.name for picture in list_pictures([f"@{tmp_path / 'list.txt'}"])]
    assert listed == ["memory://photos/b.png", "photos/x.png"]
    assert open_picture("memory://photos/b.png").getpixel((0, 0)) == (255, 0, 0)


def test_addresses_that_cannot_be_read(store):
    for address, message in (
        ("memory://photos/absent.png", "is not there"),
        ("nosuch://photos/b.png", "no address that can be read"),
    ):
        with pytest.raises(ImageError, match=message):
            open_picture(address)
    with pytest.raises(ImageError, match="no pictures"):
        list_pictures(["memory://photos/*.jpg"])
    with pytest.raises(ImageError, match="tables and videos are read from files only"):
        list_pictures(["memory://photos/t.parquet"])


def test_without_fsspec_an_address_says_what_to_install(monkeypatch):
    for name in ("fsspec", "fsspec.core"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[remote\]"'):
        list_pictures(["s3://bucket/photos/"])
