"""From a file to pixels: the only package that opens an image.

In: files, bytes, arrays. Out: RGB 0-255 and the facts of each file; augmented views of them.

Files in reading order: `decoder` (one file), `file_formats` (what the first bytes say), `reader` (what the
reader of a format gives), `samples` (any depth becomes 8 bits), `metadata` (which way up),
`appearance` (a few numbers about an image), `resizing` (stretched or padded); the readers
`jpeg`, `png`, `tiff` with `tiff_tags` and `tiff_bytes`, `webp`, `gif`, `bitmap`, `heif`, `jpeg2000`, `pnm`,
`pillow_formats`; `loader` (many files, decoded ahead), `augmentation` (the policy), `augmenter` (how it
moves pixels), `data_address` (pixels that stand in a page).
"""
