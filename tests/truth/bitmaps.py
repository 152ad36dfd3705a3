"""BMP and ICO, by hand: every depth, palette, packing, header and direction that Windows and OS/2 write."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import numpy as np

from truth.pngs import encoded, palette
from truth.table import HEIGHT, WIDTH, Array, Row, eight, over_white, packed, whole

RED_GREEN_BLUE = {15: (0x7C00, 0x3E0, 0x1F), 16: (0xF800, 0x7E0, 0x1F)}


def rows() -> Iterator[Row]:
    yield from _palettes()
    yield from _run_lengths()
    yield from _colours()
    yield from _icons()


def bitmap(
    content: bytes, bits: int, *, header: int = 40, compression: int = 0, table: bytes = b"",
    colours: int = 0, down: bool = False, masks: tuple[int, ...] = (), gap: int = 0,
) -> bytes:  # fmt: skip
    """A BMP of lines from the bottom up (`down`: from the top down)."""
    if header == 12:
        info = struct.pack("<LHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        height = -HEIGHT if down else HEIGHT
        info = struct.pack(
            "<LllHHLLllLL",
            header,
            WIDTH,
            height,
            1,
            bits,
            compression,
            len(content),
            0,
            0,
            colours,
            0,
        )
        if header > 40:
            info = (info + struct.pack(f"<{len(masks)}L", *masks)).ljust(header, b"\0")
        else:
            info += struct.pack(f"<{len(masks)}L", *masks)
    offset = 14 + len(info) + len(table) + gap
    head = struct.pack("<2sLLL", b"BM", offset + len(content), 0, offset)
    return head + info + table + bytes(gap) + content


def lines(rows: Array, *, down: bool = False) -> bytes:
    """Rows of bytes, each filled up to a multiple of four."""
    filled = np.pad(rows.astype(np.uint8), ((0, 0), (0, -rows.shape[1] % 4)), constant_values=255)
    return (filled if down else filled[::-1]).tobytes()


def _table(colours: Array, header: int) -> bytes:
    bgr = colours[:, ::-1].astype(np.uint8)
    return bgr.tobytes() if header == 12 else np.pad(bgr, ((0, 0), (0, 1))).tobytes()


def _palettes() -> Iterator[Row]:
    grey = {
        bits: np.repeat(np.arange(2**bits)[:, np.newaxis] * 255 // (2**bits - 1), 3, 1)
        for bits in (1, 4, 8)
    }
    for bits, header, down in itertools.product((1, 4, 8), (12, 40, 64, 108, 124), (False, True)):
        places = whole(1, bits)[..., 0]
        tables = {
            "random": palette(bits), "grey": grey[bits], "grey backwards": grey[bits][::-1],
            "dark": np.repeat(np.arange(2**bits)[:, np.newaxis], 3, axis=1),
            "one colour": palette(bits) * [1, 0, 0],
        }  # fmt: skip
        if header == 12 and down:
            continue
        for name, table in tables.items():
            content = lines(packed(places, bits), down=down)
            data = bitmap(content, bits, header=header, table=_table(table, header), down=down)
            pixels = table[places].astype(np.uint8)
            yield Row(f"bmp {bits} bits header {header} {name} {'down' * down}", data, pixels)
    for bits, count in ((8, 2), (8, 7), (8, 16), (8, 255), (4, 2), (4, 5), (1, 2)):
        places = whole(1, 8)[..., 0] % count
        ramp = np.repeat(np.arange(count)[:, np.newaxis], 3, axis=1)
        tables = {
            "random": palette(8)[:count],
            "black to white": ramp * (255 // (count - 1)),
            "dark": ramp,
        }
        for (name, table), gap in itertools.product(tables.items(), (0, 8)):
            content = lines(packed(places, bits))
            data = bitmap(content, bits, table=_table(table, 40), colours=count, gap=gap)
            pixels = table[places].astype(np.uint8)
            yield Row(f"bmp {bits} bits of {count} colours {name} gap {gap}", data, pixels)


def _run_lengths() -> Iterator[Row]:
    for bits, count in ((8, 256), (8, 2), (4, 16), (4, 2)):
        places = np.repeat(whole(1, 8)[:, ::3, 0], 3, axis=1)[:, :WIDTH] % count
        for table in (
            palette(8)[:count],
            np.repeat(np.arange(count)[:, np.newaxis] * (255 // (count - 1)), 3, 1),
        ):
            content = b"".join(_runs(row, bits) for row in places[::-1]) + b"\0\1"
            data = bitmap(
                content,
                bits,
                compression=9 - bits if bits == 8 else 2,
                table=_table(table, 40),
                colours=count,
            )
            yield Row(f"bmp RLE{bits} of {count} colours", data, table[places].astype(np.uint8))


def _runs(row: Array, bits: int) -> bytes:
    """One line: runs, with a literal stretch in the middle."""
    content = b""
    for value, group in itertools.groupby(row[:20].tolist()):
        content += bytes([len(list(group)), value if bits == 8 else value * 17])
    literal = row[20:]
    body = packed(literal[np.newaxis], bits).tobytes()
    return content + bytes([0, len(literal)]) + body + bytes(len(body) % 2) + b"\0\0"


def _colours() -> Iterator[Row]:
    rgb = whole(3, 8)
    alpha = whole(5, 8)[..., 4]
    pixels = eight(rgb, 255)
    bgr = rgb[..., ::-1]
    for down in (False, True):
        for header in (12, 40, 108, 124):
            if header == 12 and down:
                continue
            data = bitmap(lines(bgr.reshape(HEIGHT, -1), down=down), 24, header=header, down=down)
            yield Row(f"bmp 24 bits header {header} {'down' * down}", data, pixels)
        for rest in (np.zeros_like(alpha), alpha, np.full_like(alpha, 255)):
            four = np.dstack([bgr, rest])
            data = bitmap(lines(four.reshape(HEIGHT, -1), down=down), 32, down=down)
            yield Row(f"bmp 32 bits {'down' * down} the rest up to {rest.max()}", data, pixels)
        for depth, words in RED_GREEN_BLUE.items():
            five = whole(3, 5)
            green = 6 if depth == 16 else 5
            parts = [five[..., 0], whole(3, green)[..., 1], five[..., 2]]
            word = parts[0] << (green + 5) | parts[1] << 5 | parts[2]
            expected = np.dstack(
                [eight(parts[0], 31), eight(parts[1], 2**green - 1), eight(parts[2], 31)]
            )
            content = lines(word.astype("<u2").view(np.uint8).reshape(HEIGHT, -1), down=down)
            yield Row(f"bmp 16 bits {depth} {'down' * down}",
                      bitmap(content, 16, compression=3, masks=words, down=down), expected, 1)  # fmt: skip
            if depth == 15:
                yield Row(
                    f"bmp 16 bits plain {'down' * down}",
                    bitmap(content, 16, down=down),
                    expected,
                    1,
                )
    seen = over_white(pixels, alpha.astype(np.uint8))
    bgr_masks, first, last = (0xFF0000, 0xFF00, 0xFF), 0xFF000000, 0xFF
    fields: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...] = (
        (40, (2, 1, 0, 3), bgr_masks),
        (56, (2, 1, 0, 3), (*bgr_masks, 0)),
        (56, (2, 1, 0, 3), (*bgr_masks, first)),
        (108, (2, 1, 0, 3), (*bgr_masks, first)),
        (124, (0, 1, 2, 3), (*bgr_masks[::-1], first)),
        (124, (3, 2, 1, 0), (first, *bgr_masks[:2], last)),
        (124, (3, 2, 1, 0), (first, *bgr_masks[:2], 0)),
        (124, (3, 1, 0, 2), (first, *bgr_masks[1:], 0xFF0000)),
    )
    for header, places, masks in fields:
        four = np.empty((HEIGHT, WIDTH, 4), np.int64)
        for place, channel in zip(
            places, (rgb[..., 0], rgb[..., 1], rgb[..., 2], alpha), strict=True
        ):
            four[..., place] = channel
        has_alpha = len(masks) == 4 and masks[3] > 0
        data = bitmap(
            lines(four.reshape(HEIGHT, -1)), 32, header=header, compression=3, masks=masks
        )
        yield Row(f"bmp bit fields header {header} {masks}", data, seen if has_alpha else pixels, 1)
    for name, bits, masks in (
        ("10 bits a colour", 32, (0x3FF00000, 0xFFC00, 0x3FF)),
        ("4 bits", 16, (0xF00, 0xF0, 0xF)),
    ):
        content = lines(np.zeros((HEIGHT, WIDTH * bits // 8)))
        yield Row(f"bmp fields of {name}", bitmap(content, bits, compression=3, masks=masks), None)
    for bits, compression in ((2, 0), (64, 0), (24, 4), (24, 5), (24, 11)):
        content = lines(np.zeros((HEIGHT, WIDTH * bits // 8 + 1)))
        yield Row(
            f"bmp {bits} bits compression {compression}",
            bitmap(content, bits, compression=compression),
            None,
        )


def icon(images: list[tuple[bytes, int]]) -> bytes:
    """An ICO of images, each with its depth."""
    place, head, body = 6 + 16 * len(images), struct.pack("<HHH", 0, 1, len(images)), b""
    for image, bits in images:
        head += struct.pack(
            "<BBBBHHLL", WIDTH, HEIGHT, 0, 0, 1, bits, len(image), place + len(body)
        )
        body += image
    return head + body


def _icons() -> Iterator[Row]:
    rgb, alpha = whole(3, 8), whole(5, 8)[..., 4]
    pixels = eight(rgb, 255)
    hidden = whole(1, 1)[..., 0]
    mask = lines(packed(hidden, 1))
    masked = np.where(hidden[..., np.newaxis] == 1, 255, pixels)

    def dib(content: bytes, bits: int, table: bytes = b"") -> bytes:
        head = struct.pack("<LllHHLLllLL", 40, WIDTH, 2 * HEIGHT, 1, bits, 0, 0, 0, 0, 0, 0)
        return head + table + content

    four = np.dstack([rgb[..., ::-1], alpha])
    seen = over_white(pixels, alpha.astype(np.uint8))
    yield Row(
        "ico 24 bits",
        icon([(dib(lines(rgb[..., ::-1].reshape(HEIGHT, -1)) + mask, 24), 24)]),
        masked,
        1,
    )
    yield Row("ico 32 bits", icon([(dib(lines(four.reshape(HEIGHT, -1)) + mask, 32), 32)]), seen, 1)
    clear = np.dstack([rgb[..., ::-1], np.zeros_like(alpha)])
    yield Row(
        "ico 32 bits without opacity",
        icon([(dib(lines(clear.reshape(HEIGHT, -1)) + mask, 32), 32)]),
        masked,
        1,
    )
    for bits in (1, 4, 8):
        places = whole(1, bits)[..., 0]
        content = lines(packed(places, bits)) + mask
        colours = palette(bits)
        expected = np.where(hidden[..., np.newaxis] == 1, 255, colours[places])
        yield Row(
            f"ico {bits} bits", icon([(dib(content, bits, _table(colours, 40)), bits)]), expected, 1
        )
    png = encoded(rgb, 2, 8)
    yield Row("ico PNG", icon([(png, 32)]), pixels)
    yield Row(
        "ico PNG of 16 bits", icon([(encoded(whole(3, 16), 2, 16), 32)]), eight(whole(3, 16), 65535)
    )
