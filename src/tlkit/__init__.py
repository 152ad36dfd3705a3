"""tlkit turns a folder of two kinds of images into a classifier you can trust, in seconds.

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
    from tlkit.backbones.adapter import BackboneAdapter as BackboneAdapter
    from tlkit.choosing.compare import compare as compare
    from tlkit.choosing.comparison import Comparison as Comparison
    from tlkit.choosing.curve import LearningCurve as LearningCurve
    from tlkit.choosing.learning_curve import learning_curve as learning_curve
    from tlkit.choosing.suggest import Suggestion as Suggestion
    from tlkit.choosing.suggest import suggest as suggest
    from tlkit.classifier.classifier import Prediction as Prediction
    from tlkit.classifier.classifier import TransferClassifier as TransferClassifier
    from tlkit.data.audit import AuditReport as AuditReport
    from tlkit.data.audit import audit as audit
    from tlkit.data.dataset import DatasetSpec as DatasetSpec
    from tlkit.data.split_dataset import split_dataset as split_dataset
    from tlkit.data.tf_data import image_dataset as image_dataset
    from tlkit.delivery.export import Exported as Exported
    from tlkit.delivery.export import export as export
    from tlkit.delivery.predictions import PredictionSummary as PredictionSummary
    from tlkit.delivery.predictions import write_predictions as write_predictions
    from tlkit.delivery.serve import serve as serve
    from tlkit.evaluation.evaluate import Evaluation as Evaluation
    from tlkit.evaluation.paired_evaluation import PairedEvaluation as PairedEvaluation
    from tlkit.evaluation.rate import Rate as Rate
    from tlkit.evaluation.scores import CrossValidation as CrossValidation
    from tlkit.evaluation.threshold import ThresholdGoal as ThresholdGoal
    from tlkit.images.augmentation import AugmentationPolicy as AugmentationPolicy
    from tlkit.insight.explain import Explanation as Explanation
    from tlkit.insight.explain import explain as explain
    from tlkit.insight.label_issues import LabelIssue as LabelIssue
    from tlkit.insight.label_issues import find_label_issues as find_label_issues
    from tlkit.insight.neighbours import FeatureIndex as FeatureIndex
    from tlkit.insight.neighbours import Neighbour as Neighbour
    from tlkit.insight.neighbours import nearest as nearest
    from tlkit.report.page import write_report as write_report
    from tlkit.training.cross_validation import cross_validate as cross_validate
    from tlkit.training.schedule import ExactHead as ExactHead
    from tlkit.training.schedule import FineTuneSchedule as FineTuneSchedule
    from tlkit.training.schedule import GradientHead as GradientHead
    from tlkit.training.schedule import Phase as Phase
    from tlkit.training.transfer import transfer_classifier as transfer_classifier

_HOMES = {
    "AuditReport": "data.audit",
    "AugmentationPolicy": "images.augmentation",
    "BackboneAdapter": "backbones.adapter",
    "Comparison": "choosing.comparison",
    "CrossValidation": "evaluation.scores",
    "DatasetSpec": "data.dataset",
    "Evaluation": "evaluation.evaluate",
    "ExactHead": "training.schedule",
    "Explanation": "insight.explain",
    "Exported": "delivery.export",
    "FeatureIndex": "insight.neighbours",
    "FineTuneSchedule": "training.schedule",
    "GradientHead": "training.schedule",
    "LearningCurve": "choosing.curve",
    "LabelIssue": "insight.label_issues",
    "Neighbour": "insight.neighbours",
    "PairedEvaluation": "evaluation.paired_evaluation",
    "Phase": "training.schedule",
    "Prediction": "classifier.classifier",
    "PredictionSummary": "delivery.predictions",
    "Rate": "evaluation.rate",
    "ThresholdGoal": "evaluation.threshold",
    "Suggestion": "choosing.suggest",
    "TransferClassifier": "classifier.classifier",
    "audit": "data.audit",
    "compare": "choosing.compare",
    "cross_validate": "training.cross_validation",
    "errors": None,
    "explain": "insight.explain",
    "export": "delivery.export",
    "find_label_issues": "insight.label_issues",
    "image_dataset": "data.tf_data",
    "learning_curve": "choosing.learning_curve",
    "nearest": "insight.neighbours",
    "plot": None,
    "scale": None,
    "serve": "delivery.serve",
    "split_dataset": "data.split_dataset",
    "suggest": "choosing.suggest",
    "transfer_classifier": "training.transfer",
    "write_predictions": "delivery.predictions",
    "write_report": "report.page",
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
