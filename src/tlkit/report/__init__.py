"""One page about a classifier, which opens anywhere, asks nothing of the network and prints.

In: a classifier and its folder. Out: an HTML file.

Files in reading order: `page` (fills the template), `album` (which images, what was predicted),
`sentences` (metrics as sentences), `charts`, `alone` (how many it decides alone),
`close_ups` (heat maps, samples, views), `recipe` (how to
make the classifier again).
"""
