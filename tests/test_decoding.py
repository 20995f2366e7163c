"""Files that end too early are reported or taken as they are, and large JPEGs may be decoded smaller."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage
from PIL import Image, ImageFile

from edgeworthy.decoding import STRICT, Decoding
from edgeworthy.errors import ImageError, OptionError
from edgeworthy.frames import Frame
from edgeworthy.images import framed, open_picture
from edgeworthy.pictures import Picture
from edgeworthy.predictor import predict
from edgeworthy.results import Prediction, Unreadable
from tests.factory import classifier_file

LOAD, FAST = Decoding(truncated="load"), Decoding(fast=True)
FRAME = Frame(mode="crop", height=64, width=64, resize=72, resize_rule="shorter-truncate")


def encoded(image, form, **details):
    content = io.BytesIO()
    image.save(content, form, **details)
    return content.getvalue()


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(skimage.data.astronaut())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_file_that_ends_too_early(astronaut, form):
    content = encoded(astronaut, form, **({"interlace": 0} if form == "GIF" else {}))
    whole = np.asarray(open_picture(Picture(name="p", source=content)))
    half = Picture(name="half.bin", source=content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"half\.bin"):
        open_picture(half)
    loaded = np.asarray(open_picture(half, decoding=LOAD))
    assert loaded.shape == whole.shape
    part = np.s_[-100:] if form == "BMP" else np.s_[:100]  # BMP begins at the bottom
    assert (loaded[part] == whole[part]).all()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_what_is_no_picture_is_none_even_so(tmp_path):
    for source in (b"", b"no picture", tmp_path / "absent.png"):
        with pytest.raises(ImageError):
            open_picture(Picture(name="p", source=source), decoding=LOAD)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_nobody_else_gets_half_a_picture(astronaut):
    """Strict and lenient readers in one process, at the same time, of the same cut file."""
    content = encoded(astronaut.resize((128, 128)), "JPEG")
    half = Picture(name="half.jpg", source=content[: len(content) // 2])

    def read(position):
        decoding = LOAD if position % 2 else STRICT
        try:
            return open_picture(half, decoding=decoding).size == (128, 128)
        except ImageError:
            return False

    with ThreadPoolExecutor(8) as crew:
        assert list(crew.map(read, range(400))) == [False, True] * 200


def test_predict_takes_what_is_there(tmp_path, astronaut):
    content = encoded(astronaut, "JPEG")
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    file = classifier_file(tmp_path / "m.onnx")
    assert isinstance(next(predict(file, tmp_path / "half.jpg")), Unreadable)
    assert isinstance(next(predict(file, tmp_path / "half.jpg", decoding=LOAD)), Prediction)


def test_a_large_jpeg_is_decoded_smaller(astronaut):
    """At twice the size that it is resized to, or more; what comes out is nearly the same."""
    large = Picture(name="p", source=encoded(astronaut.resize((2048, 1536)), "JPEG", quality=95))
    assert open_picture(large, decoding=FAST, frames=[FRAME]).size == (256, 192)  # 96x72 is needed
    assert open_picture(large, decoding=FAST).size == (2048, 1536)  # nothing is said of its use
    assert open_picture(large, frames=[FRAME]).size == (2048, 1536)
    slow, fast = (framed(large, FRAME, decoding=how).astype(int) for how in (STRICT, FAST))
    assert 0 < np.abs(slow - fast).mean() < 2
    wide = Frame.stretch(700, 900)
    assert open_picture(large, decoding=FAST, frames=[FRAME, wide]).size == (2048, 1536)


def test_a_large_jpeg_that_lies_on_its_side(astronaut):
    """The sizes of the frame are those of the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = Frame.stretch(300, 60)
    lying = Picture(name="p", source=encoded(astronaut.resize((2400, 480)), "JPEG", exif=exif))
    image = open_picture(lying, decoding=FAST, frames=[tall])
    assert image.size == (120, 600)
    slow, fast = (framed(lying, tall, decoding=how).astype(int) for how in (STRICT, FAST))
    assert np.abs(slow - fast).mean() < 3


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_other_pictures_are_decoded_as_ever(astronaut, form):
    size = (2048, 2048) if form == "PNG" else (140, 140)
    picture = Picture(name="p", source=encoded(astronaut.resize(size), form))
    assert (framed(picture, FRAME, decoding=FAST) == framed(picture, FRAME)).all()


def test_other_values_are_refused():
    with pytest.raises(OptionError, match=r"'repair'.*skip, load"):
        Decoding(truncated="repair")


def test_a_callers_own_picture_keeps_its_size_and_may_be_handed_over_several_times():
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "JPEG")
    own = Image.open(content)
    frame = Frame.letterbox(64, 64)

    def opened(_):
        return open_picture(Picture(name="own", source=own), decoding=FAST, frames=[frame])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(opened, range(16)))
    assert own.size == (800, 600)
    assert {image.tobytes() for image in found} == {Image.open(content).tobytes()}
