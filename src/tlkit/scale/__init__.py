"""More than one machine: the frozen pass and prediction on a Ray cluster, through the extra `ray`.

Images lie on disks that every machine reaches, or on any file system that pyarrow or fsspec opens. What
comes out equals what one machine computes with the same engine: features and probabilities to 1e-5.
"""

from tlkit.scale.ray_features import FeatureFolder as FeatureFolder
from tlkit.scale.ray_features import compute_features as compute_features
from tlkit.scale.ray_predict import predict as predict
from tlkit.scale.ray_train import transfer_classifier as transfer_classifier

__all__ = ["FeatureFolder", "compute_features", "predict", "transfer_classifier"]
