"""Videos give one frame in so many with its time; what is damaged gives its good frames, and says where."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgeworthy import predictor
from edgeworthy.errors import ImageError, MissingExtraError, OptionError
from edgeworthy.images import open_picture
from edgeworthy.pictures import list_pictures
from edgeworthy.predictor import Predictor
from tests.factory import classifier_file

FRAMES, RATE = 100, 25


def video(path, codec="mpeg4", *, options=None, turned=None, size=(64, 48)):
    """A video of 100 frames, each two grey levels lighter than the one before, with noise in a corner."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.gop_size = 10
        if turned:
            stream.set_display_rotation(turned)
        for number in range(FRAMES):
            pixels = np.full((size[1], size[0], 3), 2 * number, np.uint8)
            pixels[:8, :8] = noise.integers(0, 255, (8, 8, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def level(picture):
    """Number of the frame, from its grey level."""
    return round(open_picture(picture).getpixel((40, 40))[0] / 2)


def good(pictures):
    return [picture for picture in pictures if not isinstance(picture.source, ImageError)]


def said(pictures):
    return [str(picture.source) for picture in pictures if isinstance(picture.source, ImageError)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "mpeg4"), ("MOV", "mpeg4"), ("m4v", "mpeg4"), ("mkv", "mpeg4"), ("avi", "mpeg4"),
        ("webm", "libvpx"), ("ts", "mpeg2video"), ("mpg", "mpeg1video"), ("mpeg", "mpeg2video"),
    ],
)  # fmt: skip
def test_one_frame_in_so_many_with_its_time(tmp_path, suffix, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV was built without {codec}")
    file = video(tmp_path / f"a.{suffix}", codec)
    pictures = list_pictures([file], every=10)
    assert pictures.total is None
    found = list(pictures)
    assert [picture.name for picture in found] == [str(file)] * 10
    frame_s = 1 / RATE if suffix.startswith("mp") and suffix != "mp4" else 0  # what the muxer is off by
    times = [number / RATE for number in range(0, FRAMES, 10)]
    assert [picture.time_s for picture in found] == pytest.approx(times, abs=frame_s + 0.002)
    assert [level(picture) for picture in found] == pytest.approx(range(0, 100, 10), abs=1)
    for start in (0, 3, 9, 10, 11):
        assert [picture.time_s for picture in pictures.since(start)] == [p.time_s for p in found[start:]]
    assert len(list(list_pictures([file]))) == 4  # one in thirty, from the first on


def test_videos_stand_among_pictures(tmp_path):
    Image.new("RGB", (64, 48), (240, 240, 240)).save(tmp_path / "a.png")
    file = video(tmp_path / "b.mp4")
    pictures = list_pictures([tmp_path / "a.png", file, tmp_path, f"{tmp_path}/*.mp4"], every=50)
    expected = [120, 0, 50, 120, 0, 50]
    for start in range(7):
        found = [level(picture) for picture in pictures.since(start)]
        assert found == pytest.approx(expected[start:], abs=1)


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_frames_are_turned_as_the_video_says(tmp_path, turned):
    """Counter-clockwise; the noise is top left before, and goes with its corner."""
    plain = open_picture(next(iter(list_pictures([video(tmp_path / "a.mp4")]))))
    shown = open_picture(next(iter(list_pictures([video(tmp_path / "b.mp4", turned=turned)]))))
    assert shown.size == ((48, 64) if turned != 180 else (64, 48))
    expected = np.asarray(plain.rotate(turned, expand=True), dtype=int)
    assert np.abs(expected - np.asarray(shown, dtype=int)).mean() < 1


@pytest.mark.parametrize(
    ("suffix", "options"), [("mp4", {"movflags": "faststart"}), ("mkv", {}), ("avi", {})]
)
def test_a_video_that_is_cut_off_gives_its_good_frames_and_says_where_it_ends(tmp_path, suffix, options):
    file = video(tmp_path / f"a.{suffix}", options=options)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    found = list(list_pictures([file], every=1))
    frames = good(found)
    assert 20 < len(frames) < 80
    assert [level(picture) for picture in frames] == pytest.approx(range(len(frames)), abs=1)
    assert found[-1] not in frames
    (message,) = said(found)
    last = f"{frames[-1].time_s:.2f} s"
    assert message.startswith(f"{file} ")
    assert f"after {last}" in message


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_damage_in_the_middle_costs_the_frames_up_to_the_next_whole_one(tmp_path, suffix):
    file = video(tmp_path / f"a.{suffix}")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    file.write_bytes(content)
    found = list(list_pictures([file], every=1))
    assert said(found)
    assert "is damaged after" in said(found)[0]
    assert 50 < len(good(found)) < FRAMES
    levels = [level(picture) for picture in good(found)]
    assert levels == sorted(levels)
    if suffix != "avi":  # which counts frames, and has no other clock
        assert levels == pytest.approx([picture.time_s * RATE for picture in good(found)], abs=2)
    assert good(found)[-1].time_s > 3


def test_what_is_no_video_is_a_picture_that_cannot_be_read(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mkv").touch()
    (tmp_path / "folder.mov").mkdir()
    (tmp_path / "list.txt").write_text(f"{tmp_path}/folder.mov\n{tmp_path}/absent.avi\n")
    (tmp_path / "playlist.ts").write_text(f"#EXTM3U\n#EXTINF:1,\n{video(tmp_path / 'a.mpg', 'mpeg1video')}\n")
    names = ["text.mp4", "empty.mkv", "playlist.ts"]
    found = list(list_pictures([*(tmp_path / name for name in names), f"@{tmp_path}/list.txt"]))
    assert [Path(picture.name).name for picture in found] == [*names, "folder.mov", "absent.avi"]
    assert len(said(found)) == 5
    for message, part in zip(
        said(found), [*["cannot be read as a video"] * 3, "no regular file", "not there"], strict=True
    ):
        assert part in message


def test_a_frame_that_is_too_large_to_decode_safely_is_refused(tmp_path, monkeypatch):
    file = video(tmp_path / "a.mp4")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    (message,) = said(list_pictures([file]))
    assert message.endswith("a.mp4 is too large to decode safely: 64x48 px, the limit is 3071 pixels.")


def test_one_frame_in_none_is_refused(tmp_path):
    with pytest.raises(OptionError, match="One frame in 0"):
        list_pictures([video(tmp_path / "a.mp4")], every=0)


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r'pip install "edgeworthy\[video\]"'):
        list_pictures([tmp_path / "a.mp4"])


def test_few_frames_are_held_however_many_threads_wait(tmp_path, monkeypatch):
    """Those that are being classified, and a few more."""
    held, most = set(), []
    lock = threading.Lock()
    framed = predictor.framed

    def slowly(picture, frame, **how):
        with lock:
            most.append(len(held))
        pixels = framed(picture, frame, **how)
        with lock:
            held.discard(picture.time_s)
        return pixels

    def counted(pictures):
        for picture in pictures:
            with lock:
                held.add(picture.time_s)
            yield picture

    monkeypatch.setattr(predictor, "framed", slowly)
    pictures = counted(list_pictures([video(tmp_path / "a.mp4")], every=1))
    results = list(Predictor(classifier_file(tmp_path / "m.onnx"), jobs=1).predict(pictures))
    assert len(results) == FRAMES
    assert max(most) <= 1 + predictor._DECODED_AHEAD + 1


def test_rows_carry_the_time(tmp_path):
    model, file = classifier_file(tmp_path / "m.onnx"), video(tmp_path / "a.mp4")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "c.mp4").write_text("no video")

    def call(*words):
        command = [
            sys.executable,
            "-m",
            "edgeworthy",
            "predict",
            str(model),
            "a.mp4",
            "b.png",
            "c.mp4",
            *words,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 1, done.stderr
        return done.stdout, done.stderr

    rows = [json.loads(line) for line in call("--json", "--every", "40")[0].splitlines()]
    assert [(row["path"], row.get("time_s")) for row in rows] == [
        ("a.mp4", 0.0), ("a.mp4", 1.6), ("a.mp4", 3.2), ("b.png", None), ("c.mp4", None),
    ]  # fmt: skip
    assert "a.mp4 at 1.60 s" in call("--every", "40")[0]
    call("--every", "40", "-o", "rows.csv", "-k", "1", "--annotate", "drawn", "--sheet", "sheet.png")
    found = list(csv.DictReader((tmp_path / "rows.csv").read_text("utf-8").splitlines()))
    assert [row["time_s"] for row in found] == ["0.0", "1.6", "3.2", "", ""]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "a-0.000s.jpg", "a-1.600s.jpg", "a-3.200s.jpg", "b.jpg",
    ]  # fmt: skip
    _, told = call("--every", "40", "-o", "rows.parquet", "-k", "1", "--resume")
    assert "rows.parquet: 4 pictures" in told
    assert pq.read_table(tmp_path / "rows.parquet")["time_s"].to_pylist() == [0.0, 1.6, 3.2, None, None]
    assert "nothing was left to do" in call("--every", "40", "-o", "rows.parquet", "-k", "1", "--resume")[1]
    command = [sys.executable, "-m", "edgeworthy", "predict", str(model), "a.mp4", "b.png", "c.mp4"]
    command += ["-o", "rows.parquet", "-k", "1", "--resume", "--every", "41"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "every is 41, it was 40" in done.stderr
    assert file.exists()
