"""From a name or a Keras model to a network with its cut points, and to an engine that runs it.

In: `BackboneAdapter("MobileNetV2")` or a model. Out: a `Network`; an `Engine`: uint8 images to
float32 outputs.

Files in reading order: `catalogue` (what is known of each network), `adapter` (the setting),
`default` (the network where none is named), `cuts` (where it may be cut), `stages` (whose outputs are
features), `network`, `adoption` (models of the user's own), `efficientnet_lite` (networks of our own),
`imagenet` (which file Keras publishes), `weights` (files), `torch_weights` (PyTorch's files without PyTorch),
`engines` (TensorFlow), `onnx_engine` (ONNX Runtime).
"""
