"""Framing repeats the training libraries byte for byte, and survives what people call pictures."""

import os

import numpy as np
import pytest
from PIL import Image, features

from edgeworthy.contract import Normalization
from edgeworthy.errors import ImageError
from edgeworthy.frames import Frame
from edgeworthy.images import frame_picture, framed, normalise, open_picture
from edgeworthy.pictures import Picture, list_pictures
from edgeworthy.sources.timm_library import frame_of
from edgeworthy.sources.torchvision_shim import mend_torchvision

mend_torchvision()
SIZES = [(640, 427), (301, 500), (257, 256), (100, 90), (224, 224), (33, 400)]


def picture(size, mode="RGB", seed=0):
    channels = {"RGB": 3, "L": 1}[mode]
    shape = (size[1], size[0], channels) if channels == 3 else (size[1], size[0])
    coarse = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(coarse)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("target", [(224, 224), (96, 160)])
@pytest.mark.parametrize(
    ("interpolation", "crop_pct"), [("bicubic", 0.875), ("bilinear", 0.95), ("bicubic", 1.0)]
)
def test_crops_are_timms(size, mode, target, interpolation, crop_pct):
    from timm.data import create_transform

    data = {
        "input_size": (3, *target),
        "interpolation": interpolation,
        "crop_pct": crop_pct,
        "crop_mode": mode,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    }
    image = picture(size)
    theirs = create_transform(**data, is_training=False)
    tensor = next(step for step in theirs.transforms if type(step).__name__ == "MaybeToTensor")
    expected = image
    for step in theirs.transforms[: theirs.transforms.index(tensor)]:
        expected = step(expected)
    assert np.array_equal(frame_picture(image, frame_of(data)), np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_torchvisions_resize_236_and_crop_224(size):
    from torchvision import transforms as T

    image = picture(size)
    expected = T.Compose([T.Resize(236), T.CenterCrop(224)])(image)
    frame = Frame(mode="crop", height=224, width=224, resize=236, resize_rule="shorter-truncate")
    assert np.array_equal(frame_picture(image, frame), np.asarray(expected))


def test_stretch_is_transformers_plain_resize():
    image = picture((301, 200))
    expected = image.resize((64, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(frame_picture(image, Frame.stretch(48, 64)), np.asarray(expected))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((100, 100), (0, 0, 40, 40)),
        ((200, 100), (0, 10, 40, 30)),
        ((100, 205), (10, 0, 30, 40)),  # 19.51 px rounds to 20
        ((100, 53), (0, 9, 40, 30)),  # 21.2 px rounds to 21: nine above, ten below
        ((4000, 10), (0, 19, 40, 20)),
        ((10, 20), (10, 0, 30, 40)),
    ],
)
def test_letterbox_centres_and_leaves_the_odd_pixel_right_and_below(size, box):
    pixels = frame_picture(Image.new("RGB", size, "white"), Frame.letterbox(40, 40))
    rows, columns = np.nonzero(pixels[..., 0])
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == box
    assert set(np.unique(pixels)) <= {0, 255}


def test_normalise_lays_out_channels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    normalization = Normalization(mean=(1, 2, 3), std=(2, 4, 8))
    planes = normalise(pixels, normalization, "nchw")
    assert planes.shape == (1, 3, 2, 4)
    assert planes.dtype == np.float32
    assert planes[0, 1, 1, 2] == (pixels[1, 2, 1] - 2) / 4
    assert np.array_equal(normalise(pixels, normalization, "nhwc"), planes.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, orientation):
    upright = Image.new("RGB", (8, 4), "black")
    upright.paste("red", (0, 0, 2, 2))
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright
    if orientation > 1:
        inverse = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}[turn[orientation]]
        stored = upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    opened = open_picture(tmp_path / "a.png")
    assert opened.size == (8, 4)
    assert np.array_equal(np.asarray(opened), np.asarray(upright))


def test_an_invalid_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 0
    picture((9, 5)).save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "a.jpg").size == (9, 5)


def test_modes_become_rgb_and_grey(tmp_path):
    clear = Image.new("RGBA", (3, 2), (200, 100, 50, 0))
    half = Image.new("RGBA", (3, 2), (200, 100, 50, 128))
    deep = Image.fromarray(np.full((2, 3), 65535 // 2, np.uint16))
    palette = picture((3, 2)).quantize(4)
    for name, image in {"clear": clear, "half": half, "deep": deep, "palette": palette}.items():
        image.save(tmp_path / f"{name}.png")
    picture((3, 2)).convert("CMYK").save(tmp_path / "cmyk.jpg")

    def first(name):
        return open_picture(tmp_path / name).getpixel((0, 0))

    assert first("clear.png") == (0, 0, 0)
    assert first("half.png")[0] == pytest.approx(100, abs=1)
    assert first("deep.png") == (127, 127, 127)
    assert open_picture(tmp_path / "palette.png").mode == "RGB"
    assert open_picture(tmp_path / "cmyk.jpg").mode == "RGB"
    assert open_picture(tmp_path / "deep.png", "L").mode == "L"


def test_what_is_no_picture_says_so(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    picture((200, 200)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    for name in ("text.jpg", "empty.png", "cut.png", "absent.png", "."):
        with pytest.raises(ImageError, match=name.replace(".", r"\.")):
            open_picture(tmp_path / name)


def test_a_decompression_bomb_is_refused(tmp_path):
    import struct
    import zlib

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ImageError, match="too large"):
        open_picture(tmp_path / "bomb.png")


def test_a_picture_may_be_bytes_or_decoded_already(tmp_path):
    """What is wrong with it is told by its name."""
    image = picture((9, 5))
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    expected = np.asarray(open_picture(tmp_path / "a.png"))
    for source in (content, image, tmp_path / "a.png", str(tmp_path / "a.png")):
        assert np.array_equal(np.asarray(open_picture(Picture(name="x:1", source=source))), expected)
    for source, said in (
        (content[:60], "x:1 cannot be read"),
        (b"", "x:1 is no picture"),
        (ImageError("x:1 has no bytes."), "has no bytes"),
    ):
        with pytest.raises(ImageError, match=said):
            open_picture(Picture(name="x:1", source=source))


def test_a_decoded_picture_of_the_callers_stays_as_it_is():
    image = picture((8, 4))
    image.getexif()[0x0112] = 6
    assert open_picture(Picture(name="x", source=image)).size == (4, 8)
    assert image.size == (8, 4)
    assert image.getexif()[0x0112] == 6


def test_sixteen_bits_are_scaled_whatever_the_brightest_value(tmp_path):
    for brightest in (255, 256, 65535):
        values = np.full((2, 3), 255, np.uint16)
        values[0, 0] = brightest
        Image.fromarray(values).save(tmp_path / "deep.png")
        assert open_picture(tmp_path / "deep.png").getpixel((2, 1)) == (0, 0, 0)


def test_a_picture_between_pillows_warning_and_its_error_is_refused(tmp_path, monkeypatch, recwarn):
    import warnings

    picture((40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    before = list(warnings.filters)
    with pytest.raises(ImageError, match="too large"):
        open_picture(tmp_path / "a.png")
    assert warnings.filters == before


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no regular file"):
        open_picture(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="no pictures"):
        list_pictures([tmp_path])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 20_000)])
@pytest.mark.parametrize("mode", ["crop", "letterbox", "stretch"])
def test_sides_of_one_pixel_are_framed(tmp_path, size, mode):
    picture(size).save(tmp_path / "a.png")
    pixels = framed(tmp_path / "a.png", getattr(Frame, mode)(24, 32))
    assert pixels.shape == (24, 32, 3)
    assert pixels.any()


def test_a_strip_whose_resize_would_fill_the_memory_is_refused(tmp_path):
    picture((50_000, 1)).save(tmp_path / "strip.png")
    crop = Frame(mode="crop", height=224, width=224, resize=256, resize_rule="shorter-truncate")
    with pytest.raises(ImageError, match=r"strip\.png cannot be framed.*50000x1 px, resized to 12800000x256"):
        framed(tmp_path / "strip.png", crop)
    assert framed(tmp_path / "strip.png", Frame.letterbox(224, 224)).shape == (224, 224, 3)


def needs(form):
    """Skip where Pillow was built without a codec that it may lack."""
    if form in {"webp", "avif"} and not features.check(form):
        pytest.skip(f"Pillow was built without {form}")


@pytest.mark.parametrize("form", ["gif", "png", "webp", "avif"])
def test_the_first_picture_of_an_animation_counts(tmp_path, form):
    first, *others = (Image.new("RGB", (20, 20), (level,) * 3) for level in (10, 200, 100))
    needs(form)
    first.save(tmp_path / f"a.{form}", save_all=True, append_images=others)
    assert abs(float(np.asarray(open_picture(tmp_path / f"a.{form}")).mean()) - 10) < 1


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.jpg", "CMYK"), ("a.tif", "CMYK"), ("a.gif", "P"), ("a.webp", "RGB"), ("a.avif", "RGB")],
)
def test_formats_and_colour_spaces_come_to_rgb(tmp_path, name, mode):
    smooth = Image.fromarray(np.linspace(0, 255, 60 * 40 * 3, dtype=np.uint8).reshape(40, 60, 3))
    saved = smooth.convert(mode)
    needs(name.rpartition(".")[2])
    saved.save(tmp_path / name)
    found = np.asarray(open_picture(tmp_path / name), dtype=float)
    assert np.abs(found - np.asarray(saved.convert("RGB"), dtype=float)).mean() < 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.linspace(0, 1, 600, dtype=np.float32), "holds values of 0 to 1, where colours are 0..255"),
        (np.linspace(-3, 90, 600, dtype=np.float32), "holds values of -3 to 90"),
        (
            np.arange(600, dtype=np.int32) * 1000,
            r"holds values of 0 to 5.99e\+05, where colours are 0..65535",
        ),
    ],
)
def test_measurements_are_no_colours(tmp_path, values, message):
    Image.fromarray(values.reshape(20, 30)).save(tmp_path / "heights.tif")
    with pytest.raises(ImageError, match=rf"heights\.tif {message}"):
        open_picture(tmp_path / "heights.tif")


def test_grey_levels_may_be_floats(tmp_path):
    Image.fromarray(np.full((20, 30), 200.4, np.float32)).save(tmp_path / "grey.tif")
    assert np.asarray(open_picture(tmp_path / "grey.tif")).mean() == 200


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_level_that_is_transparent_is_laid_over_black(tmp_path, dtype):
    values = np.full((20, 30), 200, dtype) * (257 if dtype == np.uint16 else 1)
    values[:, :10] = values[0, 0] // 2
    Image.fromarray(values).save(tmp_path / "a.png", transparency=int(values[0, 29]))
    found = np.asarray(open_picture(tmp_path / "a.png"))
    assert found[0, :, 0].tolist() == [100] * 10 + [0] * 20
