"""TGA, PCX, SGI, PSD, PNM and QOI, by hand (QOI by another program)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np

from truth.pngs import palette
from truth.table import HEIGHT, WIDTH, Array, Row, eight, over_white, packed, whole


def rows() -> Iterator[Row]:
    yield from _tga()
    yield from _pcx()
    yield from _sgi()
    yield from _psd()
    yield from _pnm()
    yield from _qoi()


def small(channels: int) -> Array:
    return whole(channels, 8).astype(np.uint8)


def runs(pixels: Array, size: int, run: Callable[[int, bytes], bytes], most: int) -> bytes:
    """Pack pixels `[N, size]`: `run` writes one that comes so many times."""
    content = b""
    for value, group in itertools.groupby(pixels.reshape(-1, size).tolist()):
        count = len(list(group))
        while count:
            content += run(min(count, most), bytes(value))
            count -= min(count, most)
    return content


# --- TGA


def _tga_file(
    kind: int, depth: int, content: bytes, *, flags: int = 0, table: bytes = b"", entry: int = 0,
    first: int = 0, note: bytes = b"",
) -> bytes:  # fmt: skip
    count = len(table) * 8 // entry if entry else 0
    head = struct.pack(
        "<BBBHHBHHHHBB",
        len(note),
        bool(table),
        kind,
        first,
        count,
        entry,
        0,
        0,
        WIDTH,
        HEIGHT,
        depth,
        flags,
    )
    return head + note + table + content


def _tga() -> Iterator[Row]:
    rgb, alpha = small(3), small(5)[..., 4]
    seen = over_white(rgb, alpha)
    five = whole(3, 5)
    words = (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2")
    words = words.view(np.uint8).reshape(HEIGHT, WIDTH, 2)
    layouts: dict[str, tuple[int, int, Array, Array, int]] = {
        "24 bits": (2, 24, rgb[..., ::-1], rgb, 0),
        "32 bits": (2, 32, np.dstack([rgb[..., ::-1], alpha]), seen, 8),
        "32 bits, the rest not opacity": (2, 32, np.dstack([rgb[..., ::-1], alpha * 0]), rgb, 0),
        "16 bits": (2, 16, words, eight(five, 31), 0),
        "16 bits with an attribute": (2, 16, words, eight(five, 31), 1),
        "grey": (3, 8, small(1), small(1), 0),
        "grey and opacity": (3, 16, np.dstack([small(1), alpha]), over_white(small(1), alpha), 8),
    }  # fmt: skip
    for (name, (kind, depth, pixels, expected, attributes)), corner, packing in itertools.product(
        layouts.items(), (0x00, 0x10, 0x20, 0x30), (False, True)
    ):
        stored = pixels if corner & 0x20 else pixels[::-1]
        stored = stored[:, ::-1] if corner & 0x10 else stored
        content = stored.tobytes()
        if packing:
            size = depth // 8
            content = b"".join(
                runs(line, size, lambda n, value: bytes([127 + n]) + value, 128)
                if number % 2
                else bytes([WIDTH - 1]) + line.tobytes()
                for number, line in enumerate(stored)
            )
        data = _tga_file(
            kind + 8 * packing, depth, content, flags=corner | attributes, note=b"note" * packing
        )
        yield Row(f"tga {name} corner {corner:#x}{' packed' * packing}", data, expected, 1)
    places, colours = whole(1, 8)[..., 0], palette(8)
    content = places[::-1].astype(np.uint8).tobytes()
    four = np.column_stack([colours[:, ::-1], np.zeros(256, np.uint8)])
    for entry, table in ((24, colours[:, ::-1]), (32, four)):
        data = _tga_file(1, 8, content, table=table.astype(np.uint8).tobytes(), entry=entry)
        yield Row(f"tga palette of {entry} bits", data, colours[places])
    part = colours[100:200, ::-1].astype(np.uint8).tobytes()
    some = (places % 100 + 100)[::-1].astype(np.uint8).tobytes()
    data = _tga_file(1, 8, some, table=part, entry=24, first=100)
    yield Row("tga palette from 100 on", data, colours[places % 100 + 100])
    for kind, depth in ((2, 15), (2, 8), (0, 24), (4, 8), (32, 24), (3, 16)):
        yield Row(
            f"tga type {kind} of {depth} bits",
            _tga_file(kind, depth, bytes(HEIGHT * WIDTH * 4)),
            None,
        )


# --- PCX


def _pcx_file(
    planes: list[Array], bits: int, *, version: int = 5, header: bytes = b"", tail: bytes = b""
) -> bytes:
    """Each plane is rows of bytes, filled up to an even number; header: 16 colours."""
    lines = [np.pad(plane, ((0, 0), (0, plane.shape[1] % 2))) for plane in planes]
    width = lines[0].shape[1]
    head = struct.pack("<BBBBHHHHHH", 10, version, 1, bits, 0, 0, WIDTH - 1, HEIGHT - 1, 72, 72)
    head += header.ljust(48, b"\0") + struct.pack("<BBHH", 0, len(planes), width, 1)

    def run(count: int, value: bytes) -> bytes:
        return bytes([0xC0 + count]) + value if count > 1 or value[0] >= 0xC0 else value

    content = b"".join(runs(line[number], 1, run, 63) for number in range(HEIGHT) for line in lines)
    return head.ljust(128, b"\0") + content + tail


def _pcx() -> Iterator[Row]:
    rgb = small(3)
    yield Row("pcx 24 bits", _pcx_file([rgb[..., n] for n in range(3)], 8), rgb)
    places, colours = small(1)[..., 0], palette(8)
    tail = b"\x0c" + colours.tobytes()
    yield Row("pcx palette", _pcx_file([places], 8, tail=tail), colours[places])
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
    for name, table in (("grey", grey), ("grey backwards", grey[::-1])):
        data = _pcx_file([places], 8, tail=b"\x0c" + table.tobytes())
        yield Row(f"pcx palette of {name}", data, table[places])
    one = whole(1, 1)[..., 0]
    yield Row("pcx 1 bit", _pcx_file([packed(one, 1)], 1), eight(one, 1)[..., np.newaxis])
    four, table = whole(1, 4)[..., 0], palette(4)
    planes = [packed((four >> n) & 1, 1) for n in range(4)]
    yield Row("pcx 4 planes", _pcx_file(planes, 1, header=table.tobytes()), table[four])
    for bits, count in ((4, 1), (2, 1), (8, 2), (8, 4)):
        yield Row(
            f"pcx {count} planes of {bits} bits",
            _pcx_file([places] * count, bits, header=table.tobytes()),
            None,
        )


# --- SGI


def _sgi_file(samples: Array, size: int, *, is_packed: bool) -> bytes:
    channels = samples.shape[2]
    kind = samples[::-1].astype(">u2" if size == 2 else "u1")
    head = struct.pack(
        ">HBBHHHHLL",
        474,
        is_packed,
        size,
        2 if channels == 1 else 3,
        WIDTH,
        HEIGHT,
        channels,
        0,
        256**size - 1,
    ).ljust(512, b"\0")
    if not is_packed:
        return head + np.moveaxis(kind, 2, 0).tobytes()
    lines = [kind[row, :, channel] for channel in range(channels) for row in range(HEIGHT)]
    coded = [_sgi_line(line, size) for line in lines]
    lengths = [len(line) for line in coded]
    start = 512 + 8 * len(coded)
    starts = [start + sum(lengths[:n]) for n in range(len(coded))]
    tables = struct.pack(f">{2 * len(coded)}L", *starts, *lengths)
    return head + tables + b"".join(coded)


def _sgi_line(line: Array, size: int) -> bytes:
    """Runs, and from the middle on all samples one by one."""
    kind = ">u2" if size == 2 else "u1"
    content = []
    for value, group in itertools.groupby(line[:15].tolist()):
        content += [len(list(group)), value]
    rest = line[15:].tolist()
    return np.array([*content, 128 | len(rest), *rest, 0], kind).tobytes()


def _sgi() -> Iterator[Row]:
    for size, channels, is_packed in itertools.product((1, 2), (1, 3, 4), (False, True)):
        samples = whole(channels, 8 * size)
        pixels = eight(samples, 256**size - 1)
        if channels == 4:
            pixels = over_white(pixels[..., :3], pixels[..., 3])
        data = _sgi_file(samples, size, is_packed=is_packed)
        yield Row(f"sgi {channels} x {8 * size} bits{' packed' * is_packed}", data, pixels, 2)


# --- PSD


def _psd_file(
    samples: Array,
    mode: int,
    bits: int,
    *,
    is_packed: bool,
    table: bytes = b"",
    resources: bytes = b"",
) -> bytes:
    channels = samples.shape[2]
    planes = [packed(samples[..., n], bits) for n in range(channels)]
    head = struct.pack(">4sH6xHLLHH", b"8BPS", 1, channels, HEIGHT, WIDTH, bits, mode)
    head += (
        struct.pack(">L", len(table))
        + table
        + struct.pack(">L", len(resources))
        + resources
        + struct.pack(">L", 0)
    )
    if not is_packed:
        return head + b"\0\0" + b"".join(plane.tobytes() for plane in planes)
    lines = [
        bytes(imagecodecs.packbits_encode(line.tobytes())) for plane in planes for line in plane
    ]
    return head + b"\0\1" + struct.pack(f">{len(lines)}H", *map(len, lines)) + b"".join(lines)


def _psd() -> Iterator[Row]:
    for is_packed in (False, True):
        how = " packed" * is_packed
        rgb, inks = small(3), small(4)
        yield Row(f"psd RGB{how}", _psd_file(rgb, 3, 8, is_packed=is_packed), rgb)
        yield Row(f"psd grey{how}", _psd_file(small(1), 1, 8, is_packed=is_packed), small(1))
        for channels, mode, bits in (
            (1, 0, 1),
            (3, 3, 16),
            (4, 3, 8),
            (2, 1, 8),
            (3, 9, 8),
            (5, 4, 8),
        ):
            odd = _psd_file(whole(channels, bits), mode, bits, is_packed=is_packed)
            yield Row(f"psd {channels} x {bits} bits mode {mode}{how}", odd, None, reason="PSD")
        share = inks / 255  # 255 is no ink
        pixels = np.rint(255 * share[..., :3] * share[..., 3:]).astype(np.uint8)
        yield Row(f"psd CMYK{how}", _psd_file(inks, 4, 8, is_packed=is_packed), pixels, 1)
        table = palette(8)
        data = _psd_file(small(1), 2, 8, is_packed=is_packed, table=table.T.tobytes())
        yield Row(f"psd palette{how}", data, table[small(1)[..., 0]])
    odd = b"8BIM\x04\x0f\0\0\xff\xff\xff\xff"  # a resource longer than all of the file
    yield Row(
        "psd with a damaged resource",
        _psd_file(small(3), 3, 8, is_packed=True, resources=odd),
        small(3),
    )


# --- PBM, PGM, PPM


def _pnm() -> Iterator[Row]:
    for white, channels in itertools.product((1, 15, 100, 255, 256, 1023, 4095, 65535), (1, 3)):
        samples = np.rint(whole(channels, 16) / 65535 * white).astype(np.int64)
        pixels = eight(samples, white)
        kind, size = (5 if channels == 1 else 6), b"%d %d\n%d\n" % (WIDTH, HEIGHT, white)
        content = samples.astype("u1" if white < 256 else ">u2").tobytes()
        for comment in (b"", b"# made by a program\n"):
            data = b"P%d\n" % kind + comment + size + content
            yield Row(f"pnm {channels} up to {white} {comment.decode()!r}", data, pixels)
        words = b" ".join(b"%d" % value for value in samples.ravel().tolist())
        data = b"P%d\t# in words\n" % (kind - 3) + size + words
        yield Row(f"pnm {channels} up to {white} in words", data, pixels)
        if white == 65535:
            data = b"P%d\n" % kind + size + content
            yield Row(f"pnm {channels} in a range", data, eight(samples, 4095), 0, (0, 4095))
    one = whole(1, 1)
    head = b" %d %d\n" % (WIDTH, HEIGHT)
    yield Row("pbm", b"P4" + head + packed(one[..., 0], 1).tobytes(), eight(one, 0, 1))
    digits = b"\n".join(bytes(line.astype(np.uint8) + 48) for line in one[..., 0])
    yield Row("pbm in digits", b"P1" + head + digits, eight(one, 0, 1))
    rest = bytes(HEIGHT * WIDTH * 12)
    for name, head in (
        ("white 0", b"P5 37 21 0\n"), ("white 65536", b"P5 37 21 65536\n"), ("no height", b"P5 37 \n"),
        ("float", b"Pf\n37 21\n-1.0\n"), ("any", b"P7\nWIDTH 37\nHEIGHT 21\nDEPTH 1\nMAXVAL 255\nENDHDR\n"),
    ):  # fmt: skip
        yield Row(f"pnm of {name}", head + rest, None)
    yield Row(
        "pgm above its white",
        b"P5 37 21 100\n" + bytes([101]) * HEIGHT * WIDTH,
        None,
        reason="white",
    )


def _qoi() -> Iterator[Row]:
    rgb, alpha = small(3), small(5)[..., 4:]
    yield Row("qoi RGB", imagecodecs.qoi_encode(rgb), rgb)
    seen = over_white(rgb, alpha[..., 0])
    yield Row("qoi RGBA", imagecodecs.qoi_encode(np.dstack([rgb, alpha])), seen, 1)
