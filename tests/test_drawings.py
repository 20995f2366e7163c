"""Pictures with scores drawn in: every picture once, nothing overwritten unasked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeworthy.errors import OptionError, TargetError
from edgeworthy.pictures import Picture
from edgeworthy.report.drawings import Drawings, annotate, contact_sheet
from edgeworthy.report.predictions import render_prediction
from edgeworthy.results import Prediction, Score, Unreadable


def prediction(path="a/cat.png", names=("cat", "dog")):
    scores = tuple(Score(class_id=i, name=name, probability=0.9 / (i + 1)) for i, name in enumerate(names))
    return Prediction(path=str(path), scores=scores)


def ink(image, box):
    """How many pixels in a box are not paper."""
    return int((np.asarray(image.crop(box).convert("L")) < 250).sum())


@pytest.mark.parametrize("size", [(300, 200), (10, 10), (4000, 50), (50, 4000)])
def test_scores_stand_below_the_picture(size):
    drawn = annotate(Image.new("RGB", size, "red"), prediction())
    assert drawn.width <= 1600
    below = (0, drawn.height - 40, drawn.width, drawn.height)
    assert ink(drawn, below) > 50
    assert (255, 0, 0) in {drawn.getpixel((drawn.width // 2, y)) for y in range(5)}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_pictures_of_any_mode(mode):
    assert annotate(Image.new(mode, (40, 30)), prediction()).mode == "RGB"


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_a_sheet_holds_all(count):
    sheet = contact_sheet([(Image.new("RGB", (64, 48), "red"), prediction())] * count)
    columns, rows = min(3, count), -(-count // 3)
    assert sheet.width == 16 + columns * 336
    assert sheet.height > rows * 240


def test_hostile_names_neither_fail_nor_steer_the_terminal():
    names = ("</script>", "\x1b[31mred", "猫", "x" * 5000, "[bold]")
    annotate(Image.new("RGB", (300, 200)), prediction(names=names))
    text = render_prediction(prediction(names=names)).plain
    assert "\x1b" not in text
    assert "[bold]" in text


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for name in ("a/cat.png", "b/cat.jpg", "b/Cat.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), "red").save(tmp_path / name)
        paths.append(tmp_path / name)
    return list(map(Picture.of, paths))


def test_equal_names_get_numbers(tmp_path, pictures):
    drawings = Drawings(pictures, folder=tmp_path / "out", sheet=tmp_path / "s" / "sheet.png", force=False)
    assert list(drawings.follow(pictures)) == pictures
    drawings.add(prediction(pictures[0].name))
    drawings.add(Unreadable(path=pictures[1].name, message="cannot be read"))
    drawings.add(prediction(pictures[2].name))
    drawings.finish()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Cat-3.jpg", "cat.jpg"]
    with Image.open(tmp_path / "s" / "sheet.png") as sheet:
        assert sheet.width == 16 + 2 * 336


def test_nothing_is_overwritten_unasked(tmp_path, pictures):
    (tmp_path / "out").mkdir()
    for name in ("cat.jpg", "sheet.png"):
        (tmp_path / "out" / name).touch()
    folder, sheet = tmp_path / "out", tmp_path / "out" / "sheet.png"
    for target in ({"folder": folder, "sheet": None}, {"folder": None, "sheet": sheet}):
        with pytest.raises(TargetError, match="--force"):
            Drawings(pictures, **target, force=False)
    with pytest.raises(OptionError, match=r"sheet\.txt"):
        Drawings(pictures, folder=None, sheet=tmp_path / "sheet.txt", force=False)


def test_a_place_that_cannot_be_says_so(tmp_path, pictures):
    with pytest.raises(TargetError, match="cannot be written"):
        Drawings(pictures, folder=tmp_path / "a" / "cat.png" / "out", sheet=None, force=False)


def test_a_picture_is_never_overwritten_by_its_own_drawing(tmp_path, pictures):
    with pytest.raises(TargetError, match="is one of the pictures"):
        Drawings([Picture.of(tmp_path / "b" / "cat.jpg")], folder=tmp_path / "b", sheet=None, force=True)


def test_a_file_name_with_a_line_end_is_drawn():
    contact_sheet([(Image.new("RGB", (64, 48)), prediction(path="a/two\nlines.png"))])


def test_a_sheet_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(TargetError, match=r"sheet\.png cannot be written: Permission denied"):
        Drawings([], folder=None, sheet=tmp_path / "sheet.png", force=False)


def test_half_a_sheet_does_not_stay(pictures, tmp_path, monkeypatch):
    def full(image, target, **options):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    drawings = Drawings(map(Picture.of, pictures[:1]), folder=None, sheet=tmp_path / "s.webp", force=False)
    list(drawings.follow(map(Picture.of, pictures[:1])))
    drawings.add(prediction(pictures[0]))
    with pytest.raises(TargetError, match=r"s\.webp cannot be written: No space"):
        drawings.finish()
    assert not (tmp_path / "s.webp").exists()
