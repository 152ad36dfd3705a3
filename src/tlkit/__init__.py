"""tlkit turns a folder of two kinds of pictures into a classifier you can trust, in seconds.

Every public name is here. Each is imported when it is first used, so `import tlkit` costs nothing and
loads no TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tlkit._version import __version__ as __version__

if TYPE_CHECKING:
    from tlkit import errors as errors
    from tlkit import plot as plot
    from tlkit import scale as scale
    from tlkit.auditing import AuditReport as AuditReport
    from tlkit.auditing import audit as audit
    from tlkit.augmentation import AugmentationPolicy as AugmentationPolicy
    from tlkit.backbone import BackboneAdapter as BackboneAdapter
    from tlkit.classifier import Prediction as Prediction
    from tlkit.classifier import TransferClassifier as TransferClassifier
    from tlkit.cross_validation import cross_validate as cross_validate
    from tlkit.dataset import DatasetSpec as DatasetSpec
    from tlkit.evaluate import Evaluation as Evaluation
    from tlkit.explaining import Explanation as Explanation
    from tlkit.explaining import explain as explain
    from tlkit.exporting import Exported as Exported
    from tlkit.exporting import export as export
    from tlkit.label_issues import LabelIssue as LabelIssue
    from tlkit.label_issues import find_label_issues as find_label_issues
    from tlkit.neighbours import FeatureIndex as FeatureIndex
    from tlkit.neighbours import Neighbour as Neighbour
    from tlkit.neighbours import nearest as nearest
    from tlkit.parts import split_dataset as split_dataset
    from tlkit.predictions import PredictionSummary as PredictionSummary
    from tlkit.predictions import write_predictions as write_predictions
    from tlkit.rate import Rate as Rate
    from tlkit.reporting import write_report as write_report
    from tlkit.schedule import ExactHead as ExactHead
    from tlkit.schedule import FineTuneSchedule as FineTuneSchedule
    from tlkit.schedule import GradientHead as GradientHead
    from tlkit.schedule import Phase as Phase
    from tlkit.scores import CrossValidation as CrossValidation
    from tlkit.tf_data import image_dataset as image_dataset
    from tlkit.threshold import ThresholdGoal as ThresholdGoal
    from tlkit.transfer import transfer_classifier as transfer_classifier

_HOMES = {
    "AuditReport": "auditing",
    "AugmentationPolicy": "augmentation",
    "BackboneAdapter": "backbone",
    "CrossValidation": "scores",
    "DatasetSpec": "dataset",
    "Evaluation": "evaluate",
    "ExactHead": "schedule",
    "Explanation": "explaining",
    "Exported": "exporting",
    "FeatureIndex": "neighbours",
    "FineTuneSchedule": "schedule",
    "GradientHead": "schedule",
    "LabelIssue": "label_issues",
    "Neighbour": "neighbours",
    "Phase": "schedule",
    "Prediction": "classifier",
    "PredictionSummary": "predictions",
    "Rate": "rate",
    "ThresholdGoal": "threshold",
    "TransferClassifier": "classifier",
    "audit": "auditing",
    "cross_validate": "cross_validation",
    "errors": None,
    "explain": "explaining",
    "export": "exporting",
    "find_label_issues": "label_issues",
    "image_dataset": "tf_data",
    "nearest": "neighbours",
    "plot": None,
    "scale": None,
    "split_dataset": "parts",
    "transfer_classifier": "transfer",
    "write_predictions": "predictions",
    "write_report": "reporting",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - one list, not two


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'tlkit' has no attribute {name!r}")
    home = _HOMES[name]
    found = import_module(f"tlkit.{home or name}")
    value = getattr(found, name) if home else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
