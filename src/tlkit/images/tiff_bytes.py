"""From strips and tiles of a TIFF to its samples, with Pillow's libtiff to unpack their bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Final, final

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tlkit.images.reader import Strict, UnreadableError
from tlkit.images.samples import Pixels, Samples
from tlkit.images.tiff_tags import Numbers, Tag, Tags, hide_other_tags

_BLOCK: Final = 2**22  # bits that are taken apart at a time


class _Tiff(TiffImageFile, Strict):  # type: ignore[misc] # as `load` is meant
    def load_prepare(
        self,
    ) -> None:  # Pillow's own goes by MAX_IMAGE_PIXELS; tlkit has a limit of its own
        if self._im is None:
            self.im = Image.core.new(  # type: ignore[attr-defined] # Pillow has no public way
                self.mode, self._tile_size
            )
        super(TiffImageFile, self).load_prepare()


def load_tiff(data: bytes, *, by_libtiff: bool = False) -> Image.Image:
    """Decode a TIFF with Pillow, without the tags that it does not need for that.

    Args:
        data: The whole file.
        by_libtiff: Leave the colours to libtiff too; Pillow does so only where something is compressed.
    """
    image = _Tiff(io.BytesIO(hide_other_tags(data)))
    if by_libtiff and not image.use_load_libtiff:
        box, offset = (0, 0, *image.size), image.tag_v2.offset
        image.tile = [
            image.tile[0]._replace(
                codec_name="libtiff", extents=box, offset=0, args=("RGBX", False, offset)
            )
        ]
        image._mode = "RGB"  # noqa: SLF001 - readers of Pillow set it
        image.use_load_libtiff = True
    image.load()
    return image


def samples_of(data: bytes, tags: Tags, bits: int, kind: str, wanted: Sequence[int]) -> Samples:
    """Return samples as they are stored.

    Args:
        data: The whole file.
        tags: Its tags.
        bits: Of a sample.
        kind: "u", "i" or "f".
        wanted: Which of the samples of each pixel.

    Returns:
        `[H, W, len(wanted)]`, of the type that the file has, or the next larger one for odd bits.

    Raises:
        UnreadableError: The tags contradict each other, or name a rare predictor.
        EOFError: Bytes are missing.
    """
    blocks, count = _Blocks(data, tags, bits, kind), tags.one(Tag.SAMPLES_PER_PIXEL)
    if tags.one(Tag.PLANAR_CONFIGURATION) != 2 or count == 1:
        together = slice(wanted[0], wanted[-1] + 1)  # a view, where a list of indices would copy
        dense = len(wanted) == together.stop - together.start
        return blocks.plane(0, count)[..., together if dense else list(wanted)]
    return np.concatenate([blocks.plane(channel, 1) for channel in wanted], axis=2)


@final
class _Blocks:
    """The strips or tiles of a TIFF."""

    def __init__(self, data: bytes, tags: Tags, bits: int, kind: str) -> None:
        self._data, self._tags, self._bits, self._kind = data, tags, bits, kind
        self._size = width, height = tags.one(Tag.IMAGE_WIDTH), tags.one(Tag.IMAGE_LENGTH)
        self._tiled = Tag.TILE_WIDTH in tags
        if self._tiled:
            self._block = tags.one(Tag.TILE_WIDTH), tags.one(Tag.TILE_LENGTH)
            self._offsets = tags.all(Tag.TILE_OFFSETS)
            self._byte_counts = tags.all(Tag.TILE_BYTE_COUNTS)
        else:
            rows = tags.one(Tag.ROWS_PER_STRIP) if Tag.ROWS_PER_STRIP in tags else height
            self._block = width, min(rows, height)
            self._offsets = tags.all(Tag.STRIP_OFFSETS)
            self._byte_counts = tags.all(Tag.STRIP_BYTE_COUNTS)
        if min(self._block) < 1:
            raise UnreadableError("damaged (its blocks have no pixels)")
        self._across = -(-width // self._block[0])
        self._down = -(-height // self._block[1])
        self._packed = tags.one(Tag.COMPRESSION) != 1
        differs = tags.one(Tag.COMPRESSION) not in (1, 32773)
        self._predictor = tags.one(Tag.PREDICTOR) if differs else 1
        known = (1, 2) if bits in (8, 16, 32, 64) else (1,)
        if self._predictor not in (*known, *((3,) if kind == "f" else ())):
            raise UnreadableError(f"a TIFF with a rare predictor ({self._predictor})")

    def plane(self, number: int, count: int) -> Samples:
        """Return the samples of one plane: `count` of each pixel, `[H, W, count]`."""
        width, height = self._size
        row = -(-self._block[0] * count * self._bits // 8)
        rows = self._unpacked(number, row).reshape(-1, self._across, row)
        samples = self._samples(rows, count).reshape(len(rows), -1, count)
        return samples[:height, :width]

    def _unpacked(self, number: int, row: int) -> Pixels:
        """Return the bytes of a plane, those of each row side by side."""
        each = self._across * self._down
        own = slice(number * each, (number + 1) * each)
        offsets, byte_counts = self._offsets[own], self._byte_counts[own]
        if len(offsets) < each or not offsets.all():
            raise UnreadableError("damaged (strips or tiles are missing)")
        if not self._packed:
            byte_counts = np.full(each, row * self._block[1])
            if not self._tiled:
                byte_counts[-1] = row * (self._size[1] - (each - 1) * self._block[1])
        if len(byte_counts) == each and (offsets + byte_counts).max() > len(self._data):
            raise EOFError("strips or tiles lie beyond the end")  # libtiff would say so on stderr
        height = self._down * self._block[1] if self._tiled else self._size[1]
        grid = {Tag.TILE_WIDTH: row, Tag.TILE_LENGTH: self._block[1]}
        strips = {Tag.ROWS_PER_STRIP: self._block[1]}
        grey = _written(
            self._data,
            {
                Tag.IMAGE_WIDTH: self._across * row,
                Tag.IMAGE_LENGTH: height,
                Tag.BITS_PER_SAMPLE: 8,
                Tag.COMPRESSION: self._tags.one(Tag.COMPRESSION),
                Tag.PHOTOMETRIC_INTERPRETATION: 1,
                Tag.FILL_ORDER: self._tags.one(Tag.FILL_ORDER),
                (Tag.TILE_OFFSETS if self._tiled else Tag.STRIP_OFFSETS): offsets,
                (Tag.TILE_BYTE_COUNTS if self._tiled else Tag.STRIP_BYTE_COUNTS): byte_counts,
                **(grid if self._tiled else strips),
            },
        )
        image = _Tiff(io.BytesIO(grey))
        image.load()
        return np.asarray(image)

    def _samples(self, rows: Pixels, count: int) -> Samples:
        """Turn bytes `[R, across, B]` into samples `[R, across, tile width, count]`."""
        shape = (*rows.shape[:2], self._block[0], count)
        if self._bits not in (8, 16, 32, 64):
            return _from_bits(rows, self._bits, self._block[0] * count).reshape(shape)
        size = self._bits // 8
        if self._predictor == 3:
            summed = rows.reshape(*rows.shape[:2], -1, count).cumsum(axis=2, dtype=np.uint8)
            planes = summed.reshape(*rows.shape[:2], size, -1)  # all first bytes, all second ones …
            rows = np.ascontiguousarray(np.moveaxis(planes, 2, 3))
            return rows.view(f">f{size}").astype(f"f{size}").reshape(shape)
        whole = np.ascontiguousarray(rows).view(f"{self._tags.order}u{size}").reshape(shape)
        numbers = whole.astype(f"u{size}", copy=False)
        if self._predictor == 2:
            numbers = numbers.cumsum(axis=2, dtype=numbers.dtype)
        return numbers.view(f"{self._kind}{size}")


def _from_bits(rows: Pixels, bits: int, count: int) -> Samples:
    """Return the first `count` samples of so many bits of each row, `[R, across, count]`."""
    kind = np.uint8 if bits <= 8 else np.uint16
    samples = np.zeros((*rows.shape[:2], count), kind)
    step = max(1, _BLOCK // max(1, 8 * rows.shape[1] * rows.shape[2]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        single = np.unpackbits(rows[part], axis=2, count=count * bits)
        single = single.reshape(*single.shape[:2], count, bits)
        for bit in range(bits):
            samples[part] = samples[part] << 1 | single[..., bit]
    return samples


def _written(data: bytes, tags: Mapping[Tag, int | Numbers]) -> bytes:
    """Return a TIFF of the same bytes with another directory, which is written behind them."""
    end = len(data) + len(data) % 2
    start = end + 2 + 12 * len(tags) + 4
    entries, beyond = [struct.pack("<H", len(tags))], b""
    for tag, values in sorted(tags.items()):
        numbers = np.atleast_1d(values).astype("<u4")
        place = numbers.tobytes()
        if len(place) > 4:
            place, beyond = struct.pack("<L", start + len(beyond)), beyond + place
        entries.append(struct.pack("<HHL", tag, 4, len(numbers)) + place.ljust(4, b"\0"))
    head = struct.pack("<2sHL", b"II", 42, end)
    return b"".join(
        [head, memoryview(data)[8:], bytes(end - len(data)), *entries, bytes(4), beyond]
    )
