"""Frames travel as JSON, and refuse what no picture could be framed by."""

import json

import pytest

from edgeworthy.errors import OptionError
from edgeworthy.frames import Frame

FRAMES = [
    Frame.letterbox(224, 320),
    Frame.stretch(12, 16, channel_order="L"),
    Frame.crop(224, 224, interpolation="bicubic"),
    Frame(mode="crop", height=224, width=224, resize=236, resize_rule="shorter-truncate"),
    Frame(mode="crop", height=9, width=9, resize=(10, 11), resize_rule="contain-round", fill=(1, 2, 3)),
]


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_come_back_from_json(frame):
    assert Frame.from_json(frame.to_json()) == frame
    assert json.loads(frame.to_json())["schema"] == 1


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "3", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "fill": 3}']
)
def test_other_text_is_no_frame(text):
    with pytest.raises(OptionError):
        Frame.from_json(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "zoom"},
        {"resize_rule": "guess"},
        {"interpolation": "cubic"},
        {"height": 0},
        {"resize": 0, "resize_rule": "shorter-truncate"},
        {"resize": 8},
        {"resize_rule": "shorter-truncate"},
    ],
)
def test_impossible_frames_are_refused(changes):
    fields = {"mode": "crop", "height": 8, "width": 8, "resize": (8, 8), "resize_rule": "exact"} | changes
    with pytest.raises(OptionError):
        Frame(**fields)


def test_a_frame_says_what_it_does():
    assert FRAMES[3].describe() == "resize 236 (shorter-truncate), crop 224x224, bilinear"
    assert FRAMES[0].describe() == "letterbox to 224x320, bilinear"
