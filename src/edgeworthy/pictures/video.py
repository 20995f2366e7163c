"""Frames out of a video file, decoded one by one; where it is damaged, its good frames and a word on that."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeworthy.errors import ImageError, MissingExtraError, first_line
from edgeworthy.pictures.picture import Picture

# Demuxers for the suffixes that are taken: a playlist under such a name would open other files and addresses.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,asf,flv,h264,hevc"
_DECLARE_LENGTH = ("mov,", "matroska,", "avi")  # others estimate it
_MISSING_S = 0.5  # that a video may be shorter than it says
_END_BYTES = 2**16  # from either end, for the fingerprint


class Video:
    """A video whose frames are pictures, one in so many of them.

    Raises:
        MissingExtraError: where PyAV is not installed.
    """

    def __init__(self, path: str, every: int) -> None:
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("av", "video") from error
        self._path, self._every = path, every

    def pictures(self, skipped: int = 0) -> Iterator[Picture | None]:
        """A picture for each frame that is taken, and for each place where the video is damaged.

        The first ones may be skipped: they are None, and cost decoding alone.
        """
        for taken, (frame, reason) in enumerate(self._told()):
            if taken < skipped:
                yield None
            elif frame is None:
                yield Picture(name=self._path, source=ImageError(f"{self._path} {reason}"))
            else:
                yield self._picture(*frame)

    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal over the file's length and both of its ends."""
        with contextlib.suppress(OSError, ValueError), Path(self._path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            ends = file.read(_END_BYTES)
            file.seek(max(0, size - _END_BYTES))
            return hashlib.sha256(f"{size} ".encode() + ends + file.read()).hexdigest()
        return ""

    def _told(self) -> Iterator[tuple[tuple[Any, float | None] | None, str]]:
        """Frames with their times, or why there is none."""
        import av

        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):  # noqa: PTH116
                yield None, "is no regular file."
                return
            with (
                Path(self._path).open("rb") as file,
                av.open(file, options={"format_whitelist": _FORMATS}) as container,
            ):
                if not container.streams.video:
                    yield None, "holds no video."
                    return
                yield from self._frames(container, container.streams.video[0])
        except FileNotFoundError:
            yield None, "is not there."
        except Exception as error:  # what a library raises on damaged files
            yield None, f"cannot be read as a video: {_reason(error)}."

    def _frames(self, container: Any, stream: Any) -> Iterator[tuple[tuple[Any, float | None] | None, str]]:
        from PIL import Image

        limit, width, height = Image.MAX_IMAGE_PIXELS, stream.width, stream.height
        if limit is not None:  # as for any other picture, before memory is taken for it
            if width * height > limit:
                sides = f"{width}x{height} px, the limit is {limit} pixels"
                yield None, f"is too large to decode safely: {sides}."
                return
            stream.codec_context.options = {"max_pixels": str(limit)}  # the size may change on the way
        start_s = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
        last_s, index, whole = None, 0, True
        for frames in _decoded(container, stream):
            for frame in frames or [None]:
                whole_before, whole = whole, _is_whole(frame, whole)
                if whole_before and not whole:
                    yield None, f"is damaged {_after(last_s)}."
                if frame is None:
                    continue
                if whole:
                    time_s = _time_s(frame)
                    last_s = None if time_s is None else time_s - start_s
                    if index % self._every == 0:
                        yield (frame, last_s), ""
                index += 1
        declared = _declared_s(container, stream)
        if index == 0 and whole:
            yield None, "holds no frames."
        elif whole and declared and last_s is not None and last_s + _frame_s(stream) + _MISSING_S < declared:
            yield None, f"ends {_after(last_s)}, and says that it has {declared:.2f} s."

    def _picture(self, frame: Any, time_s: float | None) -> Picture:
        """Decoded to RGB, and turned as the video says."""
        from PIL import Image

        try:
            image = frame.to_image()
        except Exception as error:  # a format of pixels, say, that nobody knows
            reason = f"{self._path} cannot be decoded {_after(time_s)}: {_reason(error)}."
            return Picture(name=self._path, source=ImageError(reason))
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, for PyAV as for Pillow
        if turns:
            image = image.transpose(
                (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)[turns - 1]
            )
        return Picture(name=self._path, source=image, time_s=None if time_s is None else round(time_s, 6))


def _decoded(container: Any, stream: Any) -> Iterator[list[Any] | None]:
    """The frames of each packet, or None for one that cannot be decoded."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            yield None
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames = None
        if frames is None or frames:
            yield frames


def _time_s(frame: Any) -> float | None:
    """When the frame is shown; where nobody says, when it was to be decoded."""
    if frame.time is None and frame.dts is not None and frame.time_base:
        return float(frame.dts * frame.time_base)
    time_s: float | None = frame.time
    return time_s


def _is_whole(frame: Any, before: bool) -> bool:
    """Behind damage, frames lean on what was lost until one stands for itself."""
    if frame is None or frame.is_corrupt:
        return False
    return before or bool(frame.key_frame)


def _declared_s(container: Any, stream: Any) -> float | None:
    """How long the video says that it is; None where it does not."""
    if not container.format.name.startswith(_DECLARE_LENGTH):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    with contextlib.suppress(ValueError):  # Matroska's tag of a track, 00:00:04.000000000
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None


def _frame_s(stream: Any) -> float:
    return 1 / float(stream.average_rate) if stream.average_rate else 0.0


def _after(time_s: float | None) -> str:
    return "from the beginning" if time_s is None else f"after {time_s:.2f} s"


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without its numbers and the path."""
    return getattr(error, "strerror", None) or first_line(error)
