"""Pretrained networks behind one contract: RGB 0-255 in, a feature map out.

`adapter` says which network, `catalogue` which there are, `weights` where their numbers come from, `adoption`
what a model of your own must be, and `network` is the result: built, with its cut points known.
"""

from tlkit.backbone.adapter import BackboneAdapter as BackboneAdapter
