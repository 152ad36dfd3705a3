"""`scale.transfer_classifier`: features on the cluster, the head on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from tlkit.backbones.adapter import BackboneAdapter
from tlkit.classifier.classifier import TransferClassifier
from tlkit.core.spec import check_int
from tlkit.data.dataset import DatasetSpec
from tlkit.data.example import Example
from tlkit.errors import SettingError
from tlkit.features.passes import Originals
from tlkit.features.run_folders import RunFolders
from tlkit.scale.places import PathLike, Source, need_pyarrow
from tlkit.scale.ray_features import compute, read_back
from tlkit.training.schedule import ExactHead, FineTuneSchedule
from tlkit.training.settings import RunSettings
from tlkit.training.transfer import learn


def transfer_classifier(
    data: PathLike | DatasetSpec,
    *,
    backbone: BackboneAdapter | None = None,
    schedule: FineTuneSchedule | None = None,
    seed: int = 0,
    folds: int | None = None,
    features_dir: PathLike,
    address: str | None = None,
    workers: int | None = None,
) -> TransferClassifier:
    """Turn a folder of two kinds of images into a classifier; a Ray cluster reads the images.

    The cluster computes the features; this machine then splits, solves the head, calibrates and measures as
    `tlkit.transfer_classifier` does, and ends with the same classifier. No machine ever holds all images.

    Args:
        data: As in `compute_features`. In a `DatasetSpec`, a URI needs a host or bucket: `s3://bucket/alpacas`.
        backbone: As in `tlkit.transfer_classifier`.
        schedule: A schedule that trains an exact head and nothing else. None: `FineTuneSchedule.head_only()`.
        seed: As in `tlkit.transfer_classifier`.
        folds: As in `tlkit.transfer_classifier`: cross-validate as well, over this many folds.
        features_dir: A folder that every machine reaches, or a URI, for the features. The same call goes on
            with what is there. Delete it to free the space.
        address: As in `compute_features`.
        workers: As in `compute_features`.

    Returns:
        The classifier, with its evaluation on the validation split.

    Raises:
        DatasetError: The folder is not two classes of images, or has too few for its split.
        ImageError: A file cannot be read, and the spec says `on_bad_file="raise"`.
        MissingExtraError: Ray is not installed.
        SettingError: An argument is outside what it may be; the schedule trains more than an exact head; or
            `features_dir` holds features of something else.
        TlkitError: The cluster does not answer, or the folder cannot be written.

    Examples:
        >>> classifier = transfer_classifier(  # doctest: +SKIP
        ...     "s3://bucket/alpacas", features_dir="s3://bucket/features", address="auto"
        ... )
        >>> classifier.save("alpaca.keras")  # doctest: +SKIP
    """
    if folds is not None:
        check_int("folds", folds, at_least=2)
    schedule = schedule or FineTuneSchedule.head_only()
    need_pyarrow()
    source = Source(data)
    settings = RunSettings.resolve(source.spec, backbone, None, schedule, seed)
    if schedule.phases or not isinstance(schedule.head, ExactHead):
        raise SettingError(
            "`schedule` must train an exact head and nothing else, such as FineTuneSchedule.head_only(), got "
            f"{schedule}: a head that learns by gradients, and fine-tuning, need the images again and "
            "again on one machine. Use tlkit.transfer_classifier for them"
        )
    listing = source.listing()
    settings = settings.fitted_to(listing, source.read_size)

    def elsewhere(_examples: Sequence[Example], _stop: bool) -> tuple[Originals, str]:  # noqa: FBT001 - by place
        network = settings.backbone
        done = compute(source, listing, network, features_dir, address=address, workers=workers)
        return read_back(done, listing), done.engine

    frozen = settings.frozen_part(RunFolders(), elsewhere=elsewhere)
    return learn(settings, listing, frozen, RunFolders(), folds=folds)
