"""What grey a DICOM's stored values mean (PS3.3 C.7.6.3, C.11.1, C.11.2): stored -> modality -> VOI -> black to white.

VOI LUT, else window, else the full range of the bits in use, or by `dataset.range: percentile` the image's own. A CT
without either is refused: in its full range nothing is to be seen. MONOCHROME1 is inverted, padding is black. Where a
file names several windows the first counts; that of an enhanced file stands in its functional groups.

Shapes: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swag_ray.images.dicom import GREY, Frame, read_frame
from swag_ray.images.dicom_tags import number_of, parsed
from swag_ray.images.image_error import ImageError, is_short_of_memory
from swag_ray.images.silence import silenced

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WHITE = 255
RESCALE = (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))  # and what holds where they are absent
LUMA = (0.299, 0.587, 0.114)  # as PIL weighs colours
PERCENTILES = (1, 99)  # of the samples that are no padding: a lead marker or a burnt corner is less than that
SCREEN_BITS = 8  # a CT of so few is a picture of a screen, windowed already
GROUPS = {  # where these stand in an enhanced file
    "RescaleSlope": "PixelValueTransformationSequence", "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence", "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
}  # fmt: skip


@dataclass(frozen=True)
class _Modality:
    """Values after the modality's table or rescaling, float32 (H, W), and the range that the stored bits span in it."""

    values: NDArray[np.float32]
    low: float
    high: float


def dicom_levels(
    data: bytes, *, grey_range: str, frames: str, most_pixels: int, least_side: int, number: int | None = None
) -> NDArray[np.float32]:
    """Decodes a DICOM file to grey levels 0..255, (H, W).

    Args:
        data: the file.
        grey_range: of a file without VOI LUT and window: its `bits`, or the image's own `percentile`s.
        frames: where no number is given: take the `middle` one of several; with anything else they are refused.
        most_pixels, least_side: of a frame; others are refused.
        number: of the frame, from 1.

    Raises:
        ImageError, InputError, MemoryError: as `read_frame`; a CT without a window.
    """
    frame = read_frame(data, frames, number, most_pixels, least_side)
    with silenced():
        try:
            return _levels(frame, grey_range)
        except ImageError:
            raise
        except Exception as error:  # as in read_frame
            if is_short_of_memory(error):
                raise MemoryError("decoding a DICOM") from None
            raise ImageError(f"a DICOM with damaged tags of its grey levels ({type(error).__name__})") from None


def is_ct_without_window(data: bytes, most_bytes: int) -> bool:
    """Whether `dicom_levels` would refuse a DICOM file unless by percentiles, by its tags alone.

    Args:
        data: the file.
        most_bytes: that it may unpack to.

    Returns:
        False too where the file is damaged, of which reading it tells.

    Raises:
        MemoryError: there is not enough of it here.
    """
    with silenced():
        try:
            tags = parsed(data, most_bytes, ("BitsStored", *GREY), pixels=False)
            bits = number_of(tags, "BitsStored", 0) or 0
            frame = Frame(np.empty((0, 0)), tags, 0, bits, signed=False, big_endian=False)
            if not _is_deep_ct(frame) or _first(tags, "VOILUTSequence"):
                return False
            return any(_text(frame, keyword) == "" for keyword in ("WindowCenter", "WindowWidth"))
        except Exception as error:  # its text may quote what the file says
            if is_short_of_memory(error):
                raise MemoryError("reading a DICOM") from None
            return False


def _levels(frame: Frame, grey_range: str) -> NDArray[np.float32]:
    kind = str(frame.tags.get("PhotometricInterpretation", "")).strip()
    if frame.values.ndim == 3:
        return _grey_of_colours(frame.values, 2**frame.bits - 1)
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colours = apply_color_lut(frame.values, frame.tags)[..., :3]
        return _grey_of_colours(colours, np.iinfo(colours.dtype).max)
    padding = _padding(frame)
    levels = _windowed(frame, _modality(frame), grey_range, padding)
    if kind == "MONOCHROME1":
        np.subtract(WHITE, levels, out=levels)
    if padding is not None:
        levels[padding] = 0
    return levels


def _grey_of_colours(colours: NDArray[Any], white: int) -> NDArray[np.float32]:
    weights = np.array(LUMA, np.float32) * np.float32(WHITE / white)
    levels: NDArray[np.float32] = colours.astype(np.float32) @ weights
    return levels


def _padding(frame: Frame) -> NDArray[np.bool_] | None:
    """Which samples are no image but what fills its frame; None where the file names none."""
    first = number_of(frame.tags, "PixelPaddingValue")
    if first is None:
        return None
    last = number_of(frame.tags, "PixelPaddingRangeLimit", first)
    assert last is not None
    if frame.signed:  # either may stand there as if it had no sign
        half = 2 ** (8 * frame.values.dtype.itemsize)
        first, last = (value - half if value >= half // 2 else value for value in (first, last))
    return (frame.values >= min(first, last)) & (frame.values <= max(first, last))


def _modality(frame: Frame) -> _Modality:
    low = -(2 ** (frame.bits - 1)) if frame.signed else 0
    high = low + 2**frame.bits - 1
    if item := _first(frame.tags, "ModalityLUTSequence"):
        table, start, white = _table(frame, item, low)
        return _Modality(_looked_up(frame.values, table, start), 0, white)
    slope, intercept = (_tag(frame, keyword, default) for keyword, default in RESCALE)
    values = frame.values.astype(np.float32)
    if (slope, intercept) != (1, 0):
        values *= np.float32(slope)
        values += np.float32(intercept)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    if slope == 0 or not np.isfinite(ends).all():
        raise ImageError("a DICOM whose rescaling leaves nothing to see")
    return _Modality(values, *ends)


def _windowed(
    frame: Frame, modality: _Modality, grey_range: str, padding: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    values = modality.values
    if (item := _first(frame.tags, "VOILUTSequence")) and item.get("LUTData") is not None:
        table, start, white = _table(frame, item, modality.low)
        levels = _looked_up(np.rint(values), table, start)
        levels *= np.float32(WHITE / white)
        return levels
    centre, width = (_tag(frame, keyword, None) for keyword in ("WindowCenter", "WindowWidth"))
    shape = str(_text(frame, "VOILUTFunction")).strip() or "LINEAR"
    if centre is not None and width is not None and np.isfinite([centre, width]).all():
        if shape == "SIGMOID" and width > 0:
            return _sigmoid(values, centre, width)
        if shape == "LINEAR_EXACT" and width > 0:
            return _stretched(values, centre - width / 2, centre + width / 2)
        if shape == "LINEAR" and width > 1:
            return _stretched(values, centre - width / 2, centre + width / 2 - 1)
        if shape == "LINEAR" and width == 1:
            return np.where(values > centre - 0.5, np.float32(WHITE), np.float32(0))
    if grey_range == "percentile":
        inside = values if padding is None else values[~padding]
        if not inside.size:
            raise ImageError("a DICOM of padding alone")
        low, high = np.percentile(inside, PERCENTILES)
        return _stretched(values, low, high) if high > low else np.zeros_like(values)
    if _is_deep_ct(frame):
        raise ImageError("a CT without a window; dataset.range: percentile spans its own range")
    return _stretched(values, modality.low, modality.high)


def _is_deep_ct(frame: Frame) -> bool:
    return str(frame.tags.get("Modality", "")).strip() == "CT" and frame.bits > SCREEN_BITS


def _stretched(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Levels of `low` as black to `high` as white, in place."""
    values -= np.float32(low)
    values *= np.float32(WHITE / (high - low))
    return np.clip(values, 0, WHITE, out=values)


def _sigmoid(values: NDArray[np.float32], centre: float, width: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # far below the window it is black
        return np.float32(WHITE) / (1 + np.exp(np.float32(-4) * (values - np.float32(centre)) / np.float32(width)))


def _table(frame: Frame, item: Dataset, lowest: float) -> tuple[NDArray[np.float32], int, int]:
    """A lookup table, the value that its first entry is of, and its white. pydicom's own way wraps around where a
    table has more entries than its entries have levels.
    """
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    if first >= 2**15 and lowest < 0:  # a number below 0 that stands there as if it had no sign
        first -= 2**16
    if not 8 <= bits <= 16:
        raise ImageError("a DICOM whose lookup table is of no 8 to 16 bits")
    data = item.LUTData
    if isinstance(data, bytes):
        word = "u1" if len(data) in (entries, entries + 1) and entries > 1 else ">u2" if frame.big_endian else "<u2"
        table = np.frombuffer(data[: entries * np.dtype(word).itemsize], word)
    else:
        table = np.asarray(data)[:entries]
    if len(table) < entries:
        raise ImageError("a DICOM whose lookup table is too short")
    return table.astype(np.float32), first, 2**bits - 1


def _looked_up(values: NDArray[Any], table: NDArray[np.float32], first: int) -> NDArray[np.float32]:
    places = np.clip(values.astype(np.int32) - first, 0, len(table) - 1)
    return table[places]


def _first(tags: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence; None where it has none."""
    items = tags.get(keyword)
    return items[0] if items else None


def _places(frame: Frame, group: str) -> Iterator[Dataset]:
    """Where a tag of an image may stand: in the file itself, for this frame, or for all frames."""
    yield frame.tags
    per_frame = frame.tags.get("PerFrameFunctionalGroupsSequence")
    shared = _first(frame.tags, "SharedFunctionalGroupsSequence")
    own = per_frame[frame.number] if per_frame and len(per_frame) > frame.number else None
    for place in (own, shared):
        if place is not None and (item := _first(place, group)):
            yield item


def _text(frame: Frame, keyword: str) -> Any:
    """A tag's value, the first of several; empty where it stands nowhere."""
    for place in _places(frame, GROUPS[keyword]):
        value = place.get(keyword)
        if value is not None and not isinstance(value, str) and hasattr(value, "__len__"):
            value = value[0] if len(value) else None
        if value is not None and value != "":
            return value
    return ""


def _tag(frame: Frame, keyword: str, default: Any) -> Any:
    value = _text(frame, keyword)
    try:
        return default if value == "" else float(value)
    except (TypeError, ValueError):
        raise ImageError(f"a DICOM whose {keyword} is no number") from None
