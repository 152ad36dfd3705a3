"""Figures show and name what they are made of; nothing global is touched, and names from files stay text."""

from __future__ import annotations

import dataclasses
import pickle
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tlkit import plot
from tlkit.data.dataset import DatasetSpec
from tlkit.errors import BadFileWarning, DatasetError, ImageError, MissingExtraError, SettingError
from tlkit.evaluation.history import History, PhaseHistory
from tlkit.images.augmentation import AugmentationPolicy

matplotlib = pytest.importorskip("matplotlib")


def phase(name: str, losses: list[float]) -> PhaseHistory:
    shares = tuple(1 - loss for loss in losses)
    return PhaseHistory(
        name=name,
        description="a phase",
        trainable_parameters=1,
        frozen_parameters=1,
        loss=tuple(loss / 2 for loss in losses),
        accuracy=tuple(1 - loss / 2 for loss in losses),
        validation_loss=tuple(losses),
        validation_accuracy=shares,
        best_epoch=losses.index(min(losses)),
        seconds=1.0,
    )


LIGHT = plot.THEMES["light"]
EXACT_THEN_FINE = History(
    phases=(phase("head", [0.3]), phase("fine-tuning", [0.4, 0.2, 0.25])), kept=1, seconds={}
)


def titles(axes: plot.Grid) -> list[str]:
    return [ax.get_title(loc="left") for ax in axes.flat if ax.axison]


def drawn(axes: plot.Grid) -> bytes:
    """Render the figure, as saving it would; any warning is an error here."""
    png = axes._repr_png_()
    assert png.startswith(b"\x89PNG")
    return png


# samples


def test_samples_are_labelled_and_half_of_each_class(drawn_folder: Path) -> None:
    axes = plot.samples(drawn_folder)
    assert axes.shape == (3, 3)
    assert sorted(titles(axes)) == ["disc"] * 5 + ["not disc"] * 4
    colours = {ax.get_title(loc="left"): ax._left_title.get_color() for ax in axes.flat}
    assert colours == {"disc": LIGHT.positive, "not disc": LIGHT.negative}
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert legend == ["disc (24, the positive class)", "not disc (24)"]
    drawn(axes)


def test_samples_show_the_pixels_of_the_named_files(drawn_folder: Path) -> None:
    for ax in plot.samples(drawn_folder, count=4).flat:
        file = drawn_folder / ax.get_title(loc="left") / ax.get_xlabel()
        small = Image.fromarray(ax.images[0].get_array()).resize((48, 48))
        difference = np.abs(np.asarray(small, float) - np.asarray(Image.open(file), float))
        assert difference.mean() < 4


def test_the_seed_decides_which(drawn_folder: Path) -> None:
    def names(seed: int) -> list[str]:
        return [ax.get_xlabel() for ax in plot.samples(drawn_folder, seed=seed).flat]

    assert names(0) == names(0)
    assert names(0) != names(1)


def test_fewer_images_than_cells(drawn_folder: Path) -> None:
    axes = plot.samples(drawn_folder, count=5)
    assert axes.shape == (2, 3)
    assert len(titles(axes)) == 5
    assert len(titles(plot.samples(drawn_folder, count=100))) == 48


def test_images_keep_their_proportions(tmp_path: Path) -> None:
    for name, size in (("a", (60, 30)), ("b", (30, 60))):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        Image.new("RGB", size).save(tmp_path / name / "1.jpg", exif=exif if name == "b" else b"")
    extents = {
        ax.get_title(loc="left"): ax.images[0].get_extent()
        for ax in plot.samples(tmp_path, count=2).flat
    }
    assert extents == {"a": [0, 60, 30, 0], "b": [0, 60, 30, 0]}


def test_bad_files_are_passed_over_by_name(drawn_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_folder, tmp_path / "d")
    for number in range(12):
        (tmp_path / "d" / "disc" / f"{number:02d}.jpg").write_bytes(b"")
    with pytest.warns(BadFileWarning, match="the file is empty") as warned:
        axes = plot.samples(tmp_path / "d", count=16)
    assert warned[0].filename == __file__
    assert len(titles(axes)) == 16
    with pytest.raises(ImageError, match="empty"):
        plot.samples(DatasetSpec(tmp_path / "d", on_bad_file="raise"), count=48)


def test_no_readable_image_at_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    with pytest.raises(DatasetError, match="no image can be read"):
        plot.samples(tmp_path)


def test_names_from_files_stay_text(drawn_folder: Path, tmp_path: Path) -> None:
    for class_name in ("$\\frac{a$", "b_^{$x$"):
        (tmp_path / class_name).mkdir()
        shutil.copy(drawn_folder / "disc" / "00.jpg", tmp_path / class_name / "$x$\n_{.jpg")
    axes = plot.samples(tmp_path)
    drawn(axes)
    assert axes.flat[0].get_xlabel() == r"$x$\n_{.jpg"


def test_count_must_be_positive(drawn_folder: Path) -> None:
    with pytest.raises(SettingError, match="`count` must be at least 1"):
        plot.samples(drawn_folder, count=0)


# views


def test_views_begin_with_the_image_itself(drawn_folder: Path) -> None:
    policy = AugmentationPolicy(brightness_fraction=0.3)
    file = drawn_folder / "disc" / "03.jpg"
    axes = plot.views(policy, file, count=4, seed=5, image_size=(48, 48))

    assert axes.shape == (2, 2)
    assert titles(axes) == ["the image itself", "view 1", "view 2", "view 3"]
    shown = np.stack([ax.images[0].get_array() for ax in axes.flat])
    assert np.array_equal(shown, policy.views(file, 4, seed=5, image_size=(48, 48)))
    assert "03.jpg" in axes.figure.get_suptitle()
    drawn(axes)


def test_views_of_an_array() -> None:
    axes = plot.views(AugmentationPolicy.none(), np.zeros((20, 30, 3), np.uint8), count=1)
    assert axes.shape == (1, 1)
    assert axes.figure.get_suptitle() == "1 view"
    drawn(axes)


# learning curves


def texts(axes: plot.Grid) -> list[str]:
    return [text.get_text() for ax in axes for text in ax.texts]


def test_curves_mark_the_start_of_fine_tuning_and_what_was_kept() -> None:
    axes = plot.learning_curves(EXACT_THEN_FINE)
    assert axes.shape == (2,)
    assert [ax.get_ylabel() for ax in axes] == ["log-loss (nats)", "accuracy (%)"]
    assert texts(axes) == ["fine-tuning starts"] * 2
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["head", "1", "2", "3"]
    kept = [line for line in axes[0].lines if line.get_label() == "kept"]
    assert [line.get_xydata().tolist() for line in kept] == [[[2.0, 0.2]]]
    assert axes.figure.get_suptitle() == "Kept: fine-tuning, epoch 2 (validation log-loss 0.200)"
    drawn(axes)


def test_curves_hold_the_numbers_of_the_history() -> None:
    axes = plot.learning_curves(EXACT_THEN_FINE)
    curves = {(line.get_label(), len(line.get_xdata())): line.get_ydata() for line in axes[1].lines}
    assert np.allclose(curves["validation", 1], [70])
    assert np.allclose(curves["validation", 3], [60, 80, 75])
    assert np.allclose(curves["training", 3], [80, 90, 87.5])
    assert np.allclose(curves["head alone, validation", 2], 70)


def test_a_head_alone_is_a_point_with_its_value() -> None:
    axes = plot.learning_curves(History(phases=(phase("head", [0.3]),), kept=0, seconds={}))
    assert texts(axes) == [
        "training 0.150",
        "validation 0.300",
        "training 85.0 %",
        "validation 70.0 %",
    ]
    assert all(ax.get_ylim()[1] > line.get_ydata().max() for ax in axes for line in ax.lines)
    assert axes.figure.get_suptitle() == "Kept: head (validation log-loss 0.300)"
    drawn(axes)


def test_a_head_with_epochs_begins_at_epoch_1() -> None:
    phases = (phase("head", [0.6, 0.5, 0.4]), phase("fine-tuning", [0.35, 0.45]))
    axes = plot.learning_curves(History(phases=phases, kept=1, seconds={}))
    ticks = [tick.get_text() for tick in axes[0].get_xticklabels()]
    assert ticks == ["1", "2", "3", "4", "5"]
    best = {
        line.get_label(): line.get_xydata().tolist()
        for line in axes[0].lines
        if line.get_label() in ("kept", "best of its phase")
    }
    assert best == {"kept": [[4.0, 0.35]], "best of its phase": [[3.0, 0.4]]}
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert legend == ["training", "validation", "best of its phase", "kept"]


# Themes


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", sorted(plot.THEMES))
def test_text_and_curves_stand_out_from_the_paper(name: str) -> None:
    colours = plot.THEMES[name]
    for text in (colours.ink, colours.faint, colours.positive, colours.negative):
        assert contrast(text, colours.paper) >= 4.5  # WCAG: small text
    for line in (colours.first, colours.second):
        assert contrast(line, colours.paper) >= 3  # WCAG: graphics
    assert contrast(colours.first, colours.second) > 1.3, "told apart in grey"
    roles = dataclasses.astuple(colours)
    assert len({*roles}) == len(roles)


def test_a_theme_holds_inside_its_block_only() -> None:
    def colours() -> set[object]:
        axes = plot.learning_curves(EXACT_THEN_FINE)
        kept = next(line for line in axes[0].lines if line.get_label() == "kept")
        return {axes.figure.get_facecolor(), axes[0].get_facecolor(), kept.get_color()}

    light = colours()
    with plot.theme("dark"):
        dark = colours()
        with plot.theme("light"):
            assert colours() == light
        assert colours() == dark
    assert colours() == light
    assert not light & dark


def test_a_theme_ends_with_an_error_too() -> None:
    with pytest.raises(DatasetError), plot.theme("dark"):
        plot.samples("no such folder")
    assert plot.learning_curves(EXACT_THEN_FINE).figure.get_facecolor() == (1, 1, 1, 1)


def test_there_are_two_themes() -> None:
    unknown = plot.theme("drak")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="unknown theme 'drak': did you mean 'dark'"), unknown:
        pass


def test_dark_figures_are_dark_all_over() -> None:
    with plot.theme("dark"):
        axes = plot.learning_curves(EXACT_THEN_FINE)
    text = axes.svg()  # outside: what is drawn late must not fall back to light
    found = {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}", text)}
    assert found <= {*dataclasses.astuple(plot.THEMES["dark"])}


def test_a_long_title_fits_its_figure() -> None:
    from tlkit.plot.figure import new_grid, title
    from tlkit.plot.style import drawing

    for text in ("short", "as long a title as nobody would want to read above a figure " * 2):
        with drawing():
            axes = new_grid(1, 1, size=(5, 3))
            title(axes, text)
        drawn(axes)
        (written,) = (words for words in axes.figure.texts if words.get_text() == text)
        assert written.get_window_extent().x1 < axes.figure.bbox.x1


def test_svg_is_the_same_each_time_and_its_text_is_text() -> None:
    first, again = (plot.learning_curves(EXACT_THEN_FINE).svg() for _ in range(2))
    assert first == again
    assert first.startswith("<svg")
    assert ET.fromstring(first).tag.endswith("svg")
    assert "log-loss (nats)" in first


# The library around it


@pytest.mark.parametrize("how", ["shown", "saved", "svg"])
def test_the_users_own_settings_of_matplotlib_do_not_matter(how: str, tmp_path: Path) -> None:
    def picture() -> bytes:
        axes = plot.learning_curves(EXACT_THEN_FINE)
        if how == "shown":
            return drawn(axes)
        if how == "svg":
            return axes.svg().encode()
        axes.figure.savefig(tmp_path / "curves.png")
        return (tmp_path / "curves.png").read_bytes()

    usual = picture()
    odd: dict[Any, Any] = {
        "text.usetex": True,  # LaTeX, which need not be installed
        "font.size": 31,
        "axes.formatter.use_mathtext": True,
        "xtick.labelbottom": False,
        "lines.linewidth": 12,
    }
    if how != "saved":  # what users say of files of their own holds for these
        odd |= {"savefig.facecolor": "red", "savefig.bbox": "tight", "svg.fonttype": "path"}
    with matplotlib.rc_context(odd):
        assert picture() == usual


def test_a_figure_can_be_pickled() -> None:
    figure = plot.learning_curves(EXACT_THEN_FINE).figure
    again = pickle.loads(pickle.dumps(figure))
    assert type(again) is type(figure)
    assert [ax.get_xlabel() for ax in again.axes] == [ax.get_xlabel() for ax in figure.axes]


def test_threads_leave_the_settings_of_matplotlib_as_they_were() -> None:
    before = matplotlib.rcParams.copy()
    with ThreadPoolExecutor(4) as threads:
        curves = [threads.submit(plot.learning_curves, EXACT_THEN_FINE) for _ in range(8)]
        assert len({len(drawn(one.result())) for one in curves}) == 1
    assert matplotlib.rcParams.copy() == before


def test_pyplot_is_neither_loaded_nor_are_settings_changed(drawn_folder: Path) -> None:
    code = f"""
import sys, matplotlib
before = matplotlib.rcParams.copy()  # reading the setting "backend" would load pyplot
from tlkit import plot
png = plot.samples({str(drawn_folder)!r})._repr_png_()
print(matplotlib.rcParams.copy() == before, "matplotlib.pyplot" in sys.modules, len(png) > 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False True\n"


def test_without_matplotlib_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'pip install "tlkit\[plot\]"'):
        plot.learning_curves(EXACT_THEN_FINE)
