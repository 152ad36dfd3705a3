"""`tlkit compare`: which network is worth its price on a folder."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tlkit.cli import arguments
from tlkit.cli.shared import Commands, Options, add_dataset, command, given
from tlkit.core.tables import as_json

if TYPE_CHECKING:
    from tlkit.choosing.comparison import Comparison
    from tlkit.choosing.curve import LearningCurve


def add_compare(commands: Commands) -> None:
    """Declare `tlkit compare`."""
    parser = command(
        commands, compare, "Try pretrained networks on a folder: which one is worth its price?"
    )
    add = parser.add_argument
    add("directory", metavar="DIR", help="two class folders; or train/, validation/ … with them")
    add(
        "--candidate", metavar="NAME[@SIZE]", dest="candidates", action="append", type=arguments.candidate,
        help="a network of `tlkit backbones`, such as MobileNetV2, MobileNetV2@160 or "
        "MobileNetV2:alpha=0.35@160; may be repeated (all whose weights are on this machine)",
    )  # fmt: skip
    about = "fetch weights that are not on this machine"
    add("--download", action="store_true", default=False, help=about)
    add("--folds", metavar="K", type=int, help="that judge every image (5)")
    add("--seed", metavar="N", type=int, default=0, help="of the folds and of training (0)")
    add_dataset(add)
    add("--group-by", metavar="REGEX", help="images whose names match alike stay in one fold")
    about = "keep the frozen networks' output for `tlkit train`; a killed comparison goes on there"
    add("--cache-dir", metavar="DIR", help=about)
    about = "say too whether more images would help, with the network that is recommended"
    add("--curve", action="store_true", default=False, help=about)
    add("--json", action="store_true", default=False, help="print one JSON object")


def compare(options: Options) -> int:
    """Print the table and the recommendation."""
    from tlkit.choosing.compare import compare as compare_networks
    from tlkit.choosing.learning_curve import learning_curve
    from tlkit.data.dataset import DatasetSpec

    names = ("positive_class", "classes", "value_range", "decisions", "group_by")
    spec = DatasetSpec(options.directory, seed=options.seed, **given(options, *names))
    asked = {"seed": options.seed, **given(options, "folds")}
    with TemporaryDirectory(prefix="tlkit-") as instead:
        cache: dict[str, Any] = {"cache_dir": instead} if options.curve else {}
        cache |= given(options, "cache_dir")
        comparison = compare_networks(
            spec, download=options.download, **asked, **cache, **given(options, "candidates")
        )
        found: dict[str, Comparison | LearningCurve] = {"comparison": comparison}
        if options.curve:
            found["learning_curve"] = learning_curve(
                spec, backbone=comparison.recommended, **asked, **cache
            )
    if not options.json:
        print("\n\n".join(map(str, found.values())))
    elif options.curve:
        print(as_json({name: one.to_config() for name, one in found.items()}))
    else:
        print(as_json(comparison.to_config()))
    return 0
