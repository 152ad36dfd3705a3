"""What people see: one page, which also works without a script. Every answer is written here, once."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from html import escape
from importlib.resources import files as resources
from string import Template
from typing import Final, final

from tlkit.classifier.classifier import Prediction, TransferClassifier
from tlkit.delivery.server_batches import Seen
from tlkit.delivery.server_uploads import Limits, RefusedError, Upload, stopping
from tlkit.errors import ArtifactError, ImageError, SettingError, printable
from tlkit.images.data_address import data_address, fitted
from tlkit.images.decoder import BadFile, read_image
from tlkit.images.reader import ValueRange
from tlkit.images.resizing import content_box
from tlkit.insight.explain import Explainer
from tlkit.insight.neighbours import FeatureIndex, Neighbour

_LARGE: Final = 320  # pixels of the longer side of an answer's images
_SMALL: Final = 96  # and of similar ones
_ALIKE: Final = 3
_PARTS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
_ENTRANCE: Final = """<form method="get" action="./" class="token">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required>
<button type="submit">Open</button>
</form>"""


@final
class Page:
    """The page of one classifier.

    Args:
        classifier: Whose page it is.
        limits: What a request may ask for.
        similar: Images of which the most similar ones are shown beside each answer; None: none.

    Attributes:
        parts: What the page loads besides: its address, type and content.
    """

    def __init__(
        self, classifier: TransferClassifier, limits: Limits, similar: FeatureIndex | None = None
    ) -> None:
        self._classifier, self._similar = classifier, similar
        self._explainer: Explainer | None = None
        # An exported folder has no network to look into, and some networks have no positions.
        with contextlib.suppress(ArtifactError, SettingError):
            self._explainer = Explainer(classifier)
        place = resources("tlkit.delivery")
        self.parts: Mapping[str, tuple[str, bytes]] = {
            f"/{name}": (kind, place.joinpath(f"server_{name}").read_bytes())
            for name, kind in _PARTS.items()
        }
        self._template = Template(place.joinpath("server_page.html").read_text("utf-8"))
        self._facts = {
            "title": f"{_text(classifier.positive_class)} or {_text(classifier.negative_class)}?",
            "about": _about(classifier),
            "megabytes": f"{limits.file_bytes / 1e6:g}",
            "file_bytes": str(limits.file_bytes),
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tlkit-page")
        self._closed = False  # of the event loop alone

    def empty(self) -> str:
        """Return the page before anything was asked."""
        return self._page()

    def refused(self, refusal: RefusedError) -> str:
        """Return the page that tells why there is no answer."""
        return self._page(problem=refusal.sentence, form=_ENTRANCE if refusal.status == 401 else "")

    async def filled(self, files: Sequence[Upload], outcomes: Sequence[Seen | BadFile]) -> str:
        """Return the page with what was found on each file.

        Raises:
            RefusedError: The server is being stopped.
        """
        if self._closed:
            raise stopping()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._filled, files, outcomes)

    def close(self) -> None:
        """End the thread that draws."""
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _filled(self, files: Sequence[Upload], outcomes: Sequence[Seen | BadFile]) -> str:
        results = [
            self._result(file, outcome) if isinstance(outcome, Seen) else _bad(file, outcome)
            for file, outcome in zip(files, outcomes, strict=True)
        ]
        return self._page(results="\n".join(results))

    def _page(self, *, problem: str = "", form: str = "", results: str = "") -> str:
        return self._template.substitute(
            self._facts,
            problem=f'<p class="problem" role="alert">{_text(problem)}</p>' if problem else "",
            token_form=form,
            usual="hidden" if form else "",
            results=results,
        )

    def _result(self, file: Upload, seen: Seen) -> str:
        prediction = seen.prediction
        size = fitted(seen.facts.upright_size, _LARGE)
        pixels = seen.pixels
        if self._classifier.resizing == "pad":  # the page shows the image without its borders
            y, x, height, width = content_box(seen.facts.upright_size, pixels.shape[:2])
            pixels = pixels[y : y + height, x : x + width]
        pictures = [_figure(data_address(pixels, size), "the image, as the network takes it", size)]
        if self._explainer is not None:
            heat_map = self._explainer(pixels, prediction.label).overlay(image_size=size)
            about = f"bright: where the evidence for {prediction.label} lies"
            pictures.append(_figure(data_address(heat_map, size), about, size))
        positive, probability = prediction.positive_class, prediction.probability
        kind = "positive" if prediction.label == positive else "negative"
        left = ""
        if prediction.decision != prediction.label:
            kind = "unsure"
            why = "unlike the images that it learned from: " if prediction.unfamiliar else ""
            left = f"<p>{why}a person should look; it leans to {_text(prediction.label)}</p>"
        return f"""<li class="result">
<div class="images">{"".join(pictures)}</div>
<div class="words">
<h3 class="{kind}">{_text(prediction.decision)}</h3>{left}
<p><meter min="0" max="1" value="{probability:.6f}" aria-hidden="true"></meter>
<span>probability of {_text(positive)} <strong>{probability:.2f}</strong></span></p>
{_familiarity(prediction)}<p class="name">{_name(file)}</p>
{self._alike(seen)}</div>
</li>"""

    def _alike(self, seen: Seen) -> str:
        if self._similar is None:
            return ""
        found = self._similar.nearest(seen.pixels, _ALIKE)
        pictures = "".join(filter(None, map(self._small, found)))
        return f'<p class="about">most similar images that it knows</p><div class="alike">{pictures}</div>'

    def _small(self, neighbour: Neighbour) -> str:
        try:
            address, height, width = _thumbnail(
                os.fspath(neighbour.path), self._classifier.value_range
            )
        except ImageError:  # it is not there any more
            return ""
        return _figure(address, neighbour.class_name, (height, width))


@lru_cache(maxsize=1024)
def _thumbnail(path: str, value_range: ValueRange) -> tuple[str, int, int]:
    pixels, facts = read_image(path, (2 * _SMALL, 2 * _SMALL), value_range=value_range)
    size = fitted(facts.upright_size, _SMALL)
    return data_address(pixels, size), *size


def _figure(address: str, about: str, size: tuple[int, int]) -> str:
    height, width = size
    return (
        f'<figure><img src="{address}" alt="" width="{width}" height="{height}">'
        f"<figcaption>{_text(about)}</figcaption></figure>"
    )


def _bad(file: Upload, bad: BadFile) -> str:
    real = f" (its bytes are {bad.format})" if bad.format else ""
    return f"""<li class="result bad">
<div class="words"><h3>cannot be read</h3>
<p>{_text(bad.reason)}{_text(real)}</p>
<p class="name">{_name(file)}</p></div>
</li>"""


def _about(classifier: TransferClassifier) -> str:
    known = classifier.card.evaluation
    positive, threshold = _text(classifier.positive_class), classifier.threshold
    said = f"From a probability of {threshold:.3g} on it says {positive}."
    if guarantee := classifier.guarantee:
        said = (
            f"From a probability of {guarantee.upper:.3g} on it says {positive}, below {guarantee.lower:.3g} "
            f"{_text(classifier.negative_class)}, and between them it is unsure: {guarantee.promise()}."
        )
    if level := classifier.unfamiliar_level:
        said += f" An image whose familiarity is at most {level:.3g} it calls unfamiliar."
    if known is None:
        return said
    return (
        f"{said} On {known.count:,} images that it had not learned from its accuracy was "
        f"{known.accuracy.brief('95 % CI ')}."
    )


def _familiarity(prediction: Prediction) -> str:
    """Say how like the training images an image is, where the classifier knows."""
    share = prediction.familiarity
    if share is None:
        return ""
    return (
        f'<p>familiarity <strong>{share:.2g}</strong> <span class="about">of images like those that it '
        f"learned from {100 * share:.3g} % are at least as far from them</span></p>\n"
    )


def _name(file: Upload) -> str:
    return _text(file.name or "image")


def _text(text: str) -> str:
    return escape(printable(text))
