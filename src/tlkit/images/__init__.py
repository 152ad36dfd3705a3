"""From a file to pixels: the only package that opens an image.

In: files, bytes, arrays. Out: RGB 0-255 and the facts of each file; augmented views of them.

Files in reading order: `file_formats` (what the first bytes say), `decoder` (one file), `loader`
(many, decoded ahead), `augmentation` (the policy), `augmenter` (how it moves pixels).
"""
