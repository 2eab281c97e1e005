"""How many pseudo-tokens an image, a video or a sound takes in a prompt, by llm-d-router's token-producer.

An image counts by its size, which stands in its first bytes; a video by its length and resolution, of which
the client may tell in headers; a sound by its bytes.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.picker.errors import PickerConfigError

N = TypeVar("N", int, float)

_VIDEO_HEADERS = "x-llm-d-video-"  # in which a client describes a video
# A JPEG's size may stand behind blocks of metadata, of 64 KiB each.
_HEAD_BYTES = 256 * 1024
_WIDTH, _HEIGHT, _FACTOR = 640, 360, 1024
_PNG, _GIFS, _JPEG = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a"), b"\xff\xd8"


class _Part(msgspec.Struct, rename="camel", frozen=True):
    pass


class Resolution(_Part, frozen=True):
    width: int = 0
    height: int = 0


class Static(_Part, frozen=True):
    static_token: int = 0
    num_tokens_per_frame: int = 0


class Dynamic(_Part, frozen=True):
    factor: int = 0


class Image(_Part, frozen=True):
    mode: str = "dynamic"
    default_resolution: Resolution = Resolution()
    static: Static = Static()
    dynamic: Dynamic = Dynamic()


class TokensPerFrame(_Part, frozen=True):
    mode: str = "dynamic"
    static: Static = Static()
    dynamic: Dynamic = Dynamic()


class Sampled(_Part, frozen=True):
    sample_fps: float = msgspec.field(default=0.0, name="sampleFPS")
    temporal_patch_size: int = 0


class Strided(_Part, frozen=True):
    default_source_fps: float = msgspec.field(default=0.0, name="defaultSourceFPS")
    frame_stride: int = 0


class Frames(_Part, frozen=True):
    mode: str = "sampled"
    min_frames: int = 0
    max_frames: int = 0
    sampled: Sampled = Sampled()
    strided: Strided = Strided()


class Video(_Part, frozen=True):
    default_resolution: Resolution = Resolution()
    default_duration: float = 0.0
    tokens_per_frame: TokensPerFrame = TokensPerFrame()
    frames: Frames = Frames()
    max_video_tokens: int = 0


class Estimate(_Part, frozen=True):
    """`estimate` of token-producer; what is zero is its default."""

    image: Image = Image()
    video: Video = Video()

    @classmethod
    def of(cls, parameters: Mapping[str, Any] | None) -> Estimate:
        """PickerConfigError for a field of a wrong type."""
        try:
            return msgspec.convert((parameters or {}).get("estimate") or {}, cls)
        except msgspec.ValidationError as error:
            raise PickerConfigError(f"failed to parse the parameters of token-producer - {error}") from None

    def image_tokens(self, size: tuple[int, int] | None) -> int:
        """Of an image of that many pixels; None: it is not known."""
        image = self.image
        if image.mode == "static":
            return max(image.static.static_token, 1)
        width, height = size or _resolution(image.default_resolution)
        return max(width * height // _or(image.dynamic.factor, _FACTOR), 1)

    def video_tokens(self, headers: Mapping[str, str]) -> int:
        """Of a video that `headers` tell of, or not."""
        video = self.video
        tokens = self._frames(headers) * self._per_frame(_pixels(_told(headers, "resolution")))
        return max(min(tokens, video.max_video_tokens) if video.max_video_tokens > 0 else tokens, 1)

    def _per_frame(self, told: tuple[int, int] | None) -> int:
        per_frame = self.video.tokens_per_frame
        if per_frame.mode == "static":
            return max(per_frame.static.num_tokens_per_frame, 1)
        width, height = told or _resolution(self.video.default_resolution)
        return max(width * height // _or(per_frame.dynamic.factor, _FACTOR), 1)

    def _frames(self, headers: Mapping[str, str]) -> int:
        frames = self.video.frames
        seconds = _positive(_told(headers, "duration-seconds")) or _or(self.video.default_duration, 10.0)
        if frames.mode == "strided":
            rate = _positive(_told(headers, "fps")) or _or(frames.strided.default_source_fps, 24.0)
            count = int(seconds * rate) // max(frames.strided.frame_stride, 1)
        else:
            count = int(seconds * _or(frames.sampled.sample_fps, 2.0))
        if frames.min_frames > 0:
            count = max(count, frames.min_frames)
        if frames.max_frames > 0:
            count = min(count, frames.max_frames)
        patch = frames.sampled.temporal_patch_size
        return count // patch if frames.mode != "strided" and patch > 1 else count


def sound_tokens(size: int) -> int:
    """Of a sound of so many bytes, as they are written in the request."""
    return max(-(-size // 4), 1)


def size_of_url(url: str) -> tuple[int, int] | None:
    """Width and height of an image in a data: URL; None where it is elsewhere or no image."""
    if not url.startswith("data:image/"):
        return None
    _, found, payload = url.partition("base64,")
    return size_of_base64(payload) if found else None


def size_of_base64(payload: str) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF or JPEG."""
    head = payload[: _HEAD_BYTES // 3 * 4].replace("\n", "").replace("\r", "")
    try:
        return _size_of(base64.b64decode(head[: len(head) // 4 * 4], validate=True))
    except (binascii.Error, ValueError):
        return None


def _size_of(data: bytes) -> tuple[int, int] | None:
    size: tuple[int, int] | None = None
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 33:
        size = struct.unpack(">II", data[16:24])
    elif data.startswith(_GIFS) and len(data) >= 13:
        size = struct.unpack("<HH", data[6:10])
    elif data.startswith(_JPEG):
        size = _size_of_jpeg(data)
    return size if size and min(size) > 0 else None


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    """The frame header, behind segments of their own lengths."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xC2:  # the frames that Go's decoder knows
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return None


def _told(headers: Mapping[str, str], name: str) -> str:
    return headers.get(_VIDEO_HEADERS + name, "")


def _positive(text: str) -> float:
    try:
        return max(float(text), 0.0)
    except ValueError:
        return 0.0


def _pixels(text: str) -> tuple[int, int] | None:
    width, _, height = text.lower().partition("x")
    if width.strip().isdecimal() and height.strip().isdecimal() and int(width) and int(height):
        return int(width), int(height)
    return None


def _resolution(given: Resolution) -> tuple[int, int]:
    return _or(given.width, _WIDTH), _or(given.height, _HEIGHT)


def _or(value: N, default: N) -> N:
    return value if value > 0 else default
