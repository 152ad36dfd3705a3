"""JPEG, GIF, WebP, AVIF, JPEG 2000, HEIC: written by other programs, or by Pillow where none is at hand."""

from __future__ import annotations

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pillow_heif
from hostile import encode, exif
from PIL import Image

from truth.pngs import palette
from truth.table import HEIGHT, WIDTH, Array, Row, eight, over_white, shares, whole


def rows() -> Iterator[Row]:
    yield from _jpeg()
    yield from _jpeg_segments()
    yield from _gif()
    yield from _webp()
    yield from _avif()
    yield from _jpeg2000()
    yield from _heic()


def small(channels: int) -> npt.NDArray[np.uint8]:
    return whole(channels, 8).astype(np.uint8)


def smooth(channels: int) -> npt.NDArray[np.uint8]:
    """Ramps alone: what a lossy packing keeps."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    ramps = [down / HEIGHT, across / WIDTH, (down + across) / (HEIGHT + WIDTH), 1 - down / HEIGHT]
    steps = 30 + 190 * np.stack(ramps, axis=2)[..., :channels]
    pixels: npt.NDArray[np.uint8] = np.rint(steps).astype(np.uint8)
    return pixels


def _jpeg() -> Iterator[Row]:
    for channels, chroma, progressive in itertools.product(
        (1, 3), ("444", "422", "420"), (False, True)
    ):
        pixels = smooth(channels)
        options: dict[str, Any] = {"quality": 98, "progressive": progressive}
        if channels == 3:
            options["subsampling"] = {"444": 0, "422": 1, "420": 2}[chroma]
        image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
        data = encode(image, "JPEG", **options)
        name = f"jpeg {channels} {chroma}{' progressive' * progressive}"
        # Decoding is lossy and libraries differ by a step or two: another one says what is right.
        right = np.atleast_3d(imagecodecs.jpeg8_decode(data))
        yield Row(name, data, right, 2)
    for space in ("rgb", "ycbcr"):
        data = imagecodecs.jpeg8_encode(
            smooth(3), level=99, colorspace="rgb", outcolorspace=space, subsampling=(1, 1)
        )
        yield Row(f"jpeg stored as {space}", data, smooth(3), 4)
    inks = smooth(4)
    data = encode(Image.fromarray(inks, "CMYK"), "JPEG", quality=98)
    share = 1 - inks / 255
    yield Row("jpeg CMYK", data, np.rint(255 * share[..., :3] * share[..., 3:]).astype(np.uint8), 6)
    twelve = imagecodecs.jpeg8_encode(
        whole(1, 12)[..., 0].astype(np.uint16), bitspersample=12, level=99
    )
    yield Row("jpeg of 12 bits", twelve, None, reason="cannot be read")
    lossless = imagecodecs.ljpeg_encode(whole(1, 8)[..., 0].astype(np.uint8))
    yield Row("jpeg without loss", lossless, small(1))


def segment(marker: int, content: bytes, *, length: int | None = None) -> bytes:
    return (
        struct.pack(">BBH", 0xFF, marker, len(content) + 2 if length is None else length) + content
    )


def _jpeg_segments() -> Iterator[Row]:
    """What says nothing about pixels: too short, too long, damaged, or twice."""
    data = encode(Image.fromarray(smooth(3)), "JPEG", quality=98, subsampling=0)
    odd = {
        "a short Adobe segment": segment(0xEE, b"Adobe"), "a shorter one": segment(0xEE, b"Adobe\0\x64"),
        "an empty Adobe segment": segment(0xEE, b""), "a short JFIF segment": segment(0xE0, b"JFIF\0\1"),
        "a short MPF": segment(0xE2, b"MPF\0"), "a short profile": segment(0xE2, b"ICC_PROFILE\0"),
        "half a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + bytes(90)),
        "an empty Photoshop segment": segment(0xED, b"Photoshop 3.0\0"),
        "a damaged one": segment(0xED, b"Photoshop 3.0\x008BIM"),
        "a short size": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\2\0\0"),
        "an empty EXIF block": segment(0xE1, b"Exif\0\0"),
        "a damaged EXIF block": segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "two EXIF blocks": segment(0xE1, exif(1)) + segment(0xE1, exif(1)),
        "XMP that is no XML": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff<"),
        "FlashPix": segment(0xE2, b"FPXR\0"), "an empty comment": segment(0xFE, b""),
        "a long comment": segment(0xFE, b"x" * 65533),
        "nonsense between segments": b"nonsense",
    }  # fmt: skip
    for name, what in odd.items():
        if what.startswith(b"\xff"):
            yield Row(f"jpeg with {name}", data[:2] + what + data[2:], smooth(3), 4)
        yield Row(f"jpeg with {name} later", data[:20] + what + data[20:], smooth(3), 4)
    yield Row("jpeg and a film behind it", data + b"\0\0\0\x18ftypmp42" + bytes(999), smooth(3), 4)
    without_end = data.removesuffix(b"\xff\xd9")
    yield Row("jpeg without its end", without_end, None, reason="truncated")
    half = data[: len(data) * 2 // 3]
    yield Row("jpeg whose rest are zeros", half.ljust(len(data), b"\0"), None, reason="truncated")


def _gif() -> Iterator[Row]:
    places, colours = whole(1, 8)[..., 0].astype(np.uint8), palette(8)
    image = Image.fromarray(places, "P")
    image.putpalette(colours.tobytes())
    pixels = colours[places]
    for interlaced in (0, 1):
        data = encode(image, "GIF", interlace=interlaced, optimize=False)
        yield Row(f"gif interlaced {interlaced}", data, pixels)
        clear = encode(
            image, "GIF", interlace=interlaced, transparency=int(places[3, 3]), optimize=False
        )
        seen = np.where(places[..., np.newaxis] == places[3, 3], 255, pixels)
        yield Row(f"gif with a clear colour, interlaced {interlaced}", clear, seen)
    for bits in (1, 2, 4):
        some = whole(1, bits)[..., 0].astype(np.uint8)
        few = Image.fromarray(some, "P")
        few.putpalette(palette(bits).tobytes())
        yield Row(f"gif of {bits} bits", encode(few, "GIF", optimize=False), palette(bits)[some])
    data = encode(Image.fromarray(small(1)[..., 0]), "GIF")
    yield Row("gif grey", data, small(1))
    later = Image.new("P", (WIDTH, HEIGHT), 3)
    later.putpalette(colours[::-1].tobytes())
    data = encode(image, "GIF", save_all=True, append_images=[later], optimize=False)
    yield Row("gif of two images", data, pixels)
    note = b"\x21\xfe\x03abc\0"
    plain = encode(image, "GIF", optimize=False)
    start = plain.index(b"\x2c", 13 + 768)
    yield Row("gif with a comment", plain[:start] + note + plain[start:], pixels)
    wider = plain[:6] + struct.pack("<HH", WIDTH + 4, HEIGHT + 2) + plain[10:]
    at = struct.pack("<HHHH", 3, 1, WIDTH, HEIGHT)
    wider = wider[: start + 1] + at + wider[start + 9 :]
    yield Row("gif whose image does not fill it", wider, _framed(pixels))


def _framed(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image in a larger, see-through one."""
    return np.pad(pixels, ((1, 1), (3, 1), (0, 0)), constant_values=255)


def _webp() -> Iterator[Row]:
    for channels in (3, 4):
        pixels = small(channels)
        seen = pixels if channels == 3 else over_white(pixels[..., :3], pixels[..., 3])
        data = imagecodecs.webp_encode(pixels, lossless=True)
        yield Row(f"webp of {channels} without loss", data, seen, channels == 4)
        odd = data[:4] + struct.pack("<L", len(data) + 2) + data[8:] + b"EXIF\2\0\0\0MM"
        if data[12:16] == b"VP8X":
            yield Row(f"webp of {channels} with a damaged EXIF block", odd, seen, channels == 4)
    lossy = imagecodecs.webp_encode(smooth(3), level=98)
    yield Row("webp with loss", lossy, imagecodecs.webp_decode(lossy), 2)
    frames = encode(Image.fromarray(small(3)), "WEBP", lossless=True, save_all=True,
                    append_images=[Image.new("RGB", (WIDTH, HEIGHT))])  # fmt: skip
    yield Row("webp of two images", frames, small(3))


def _avif() -> Iterator[Row]:
    for bits, channels in itertools.product((8, 10, 12), (3, 4)):
        samples = np.rint(shares(channels) * (2**bits - 1)).astype(
            np.uint8 if bits == 8 else np.uint16
        )
        pixels = eight(samples, 2**bits - 1)
        seen = pixels if channels == 3 else over_white(pixels[..., :3], pixels[..., 3])
        data = imagecodecs.avif_encode(samples, level=100, bitspersample=bits, pixelformat="444")
        yield Row(f"avif of {channels} x {bits} bits", data, seen, 1 + (channels == 4))
    grey = imagecodecs.avif_encode(smooth(1)[..., 0], level=100, pixelformat="400")
    yield Row("avif grey", grey, smooth(1), 2)


def _jpeg2000() -> Iterator[Row]:
    for container, bits, channels in itertools.product(("j2k", "jp2"), (8, 10, 12, 16), (1, 3)):
        samples = whole(channels, bits).astype(np.uint8 if bits == 8 else np.uint16)
        stored = samples[..., 0] if channels == 1 else samples
        data = imagecodecs.jpeg2k_encode(
            stored, codecformat=container, bitspersample=bits, reversible=True, level=0
        )
        name = f"jpeg 2000 {container} {channels} x {bits} bits"
        if channels == 3 and bits > 8:
            yield Row(name, data, None, reason=f"3 x {bits} bits")
            continue
        yield Row(name, data, eight(samples, 2**bits - 1))
        if bits > 8:
            ends = (100, 2**bits - 200)
            yield Row(f"{name} in a range", data, eight(samples, ends[1], ends[0]), 0, ends)
    for mode, channels in (("LA", 2), ("RGBA", 4)):
        pixels = small(channels)
        data = encode(Image.fromarray(pixels, mode), "JPEG2000", irreversible=False)
        yield Row(f"jpeg 2000 {mode}", data, over_white(pixels[..., :-1], pixels[..., -1]), 1)
    tiled = encode(Image.fromarray(small(3)), "JPEG2000", tile_size=(16, 16), irreversible=False)
    yield Row("jpeg 2000 in tiles", tiled, small(3))
    lossy = encode(
        Image.fromarray(smooth(3)),
        "JPEG2000",
        irreversible=True,
        quality_mode="dB",
        quality_layers=[50],
    )
    yield Row("jpeg 2000 with loss", lossy, smooth(3), 6)
    signed = (whole(1, 8)[..., 0] - 128).astype(np.int8)
    yield Row("jpeg 2000 signed", imagecodecs.jpeg2k_encode(signed, level=0), None)


def heic(pixels: Array, mode: str, **options: Any) -> bytes:
    """A HEIC without loss: 4:4:4, and RGB that is not turned into other colours."""
    file = io.BytesIO()
    pillow_heif.encode(mode, (pixels.shape[1], pixels.shape[0]), np.ascontiguousarray(pixels).tobytes(), file,
                       quality=-1, chroma=444, matrix_coefficients=0, **options)  # fmt: skip
    return file.getvalue()


def _heic() -> Iterator[Row]:
    rgb, rgba = small(3), small(4)
    yield Row("heic", heic(rgb, "RGB"), rgb, 1)
    yield Row("heic with EXIF", heic(rgb, "RGB", exif=exif(1)), rgb, 1)
    yield Row("heic with damaged EXIF", heic(rgb, "RGB", exif=b"nonsense"), rgb, 1)
    yield Row("heic with opacity", heic(rgba, "RGBA"), over_white(rgba[..., :3], rgba[..., 3]), 2)
    wide = np.rint(shares(3) * 65535).astype(np.uint16)
    yield Row("heic of 10 bits", heic(wide, "RGB;16"), eight(wide, 65535), 2)
    yield Row("heic grey", heic(small(1), "L"), small(1), 1)
    yield Row(
        "heic grey of 10 bits",
        heic(np.rint(shares(1) * 65535).astype(np.uint16), "L;16"),
        eight(shares(1), 1),
        2,
    )
    several = pillow_heif.HeifFile()
    other = Image.fromarray(255 - rgb)
    for image in (other, Image.fromarray(rgb), other):
        several.add_from_pillow(image)
    file = io.BytesIO()
    several.save(file, quality=-1, chroma=444, matrix_coefficients=0, primary_index=1)
    yield Row("heic of three images", file.getvalue(), rgb, 1)
