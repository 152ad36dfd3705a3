"""What programs are told: rows of predictions, what the classifier is, and OpenAPI's description of both."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeAlias

from tlkit._version import __version__
from tlkit.classifier.classifier import TransferClassifier
from tlkit.core.spec import Json
from tlkit.delivery.predictions import COLUMNS, NUMBERS, as_row
from tlkit.delivery.server_batches import Seen
from tlkit.delivery.server_uploads import Limits, Upload
from tlkit.errors import printable
from tlkit.images.decoder import BadFile

Schema: TypeAlias = dict[str, Any]

_PACKAGES: Final = ("keras", "tensorflow", "onnxruntime", "ai-edge-litert", "numpy", "pillow")
_ABOUT: Final = {
    "path": "the file's name as it was sent, without folders; null for bytes without a name",
    "label": "the predicted class; null where the file cannot be read",
    "confidence": "probability of `label`, 0-1",
    "decision": "what is decided: `label`; `unfamiliar` or `unsure` where the image is left to a person",
    "familiarity": "share of images like the training images that are at least as far from these, 0-1; "
    "null where nobody knows",
    "probability": "probability of `positive_class`, 0-1",
    "positive_class": "the class that the probability is of",
    "threshold": "from this `probability` on the label is `positive_class`",
    "error": "why the file cannot be read as an image; null where it can",
}


def rows(files: Sequence[Upload], outcomes: Sequence[Seen | BadFile]) -> list[dict[str, Json]]:
    """Return what is told of each file: the columns of every table of predictions."""
    told: list[dict[str, Json]] = []
    for file, outcome in zip(files, outcomes, strict=True):
        found = outcome.prediction if isinstance(outcome, Seen) else outcome
        row = dict(zip(COLUMNS, as_row(file.name or "", found), strict=True))
        told.append({**row, "path": None if file.name is None else row["path"]})
    return told


def model_facts(classifier: TransferClassifier, limits: Limits) -> dict[str, Json]:
    """Return what a classifier is, and what a request may bring; nothing about where its file lies."""
    known = classifier.card.evaluation
    return {
        "class_names": [printable(name) for name in classifier.class_names],
        "positive_class": printable(classifier.positive_class),
        "threshold": classifier.threshold,
        "guarantee": classifier.guarantee and classifier.guarantee.promise(),
        "unfamiliar_level": classifier.unfamiliar_level,
        "image_size": [*classifier.image_size],
        "accuracy": None if known is None else str(known.accuracy),
        "fingerprint": classifier.fingerprint,
        "versions": _versions(),
        "limits": {
            "file_bytes": limits.file_bytes,
            "request_bytes": limits.request_bytes,
            "pixels": limits.pixels,
            "files": limits.files,
        },
    }


def _versions() -> dict[str, Json]:
    found: dict[str, Json] = {"tlkit": __version__, "python": platform.python_version()}
    for name in _PACKAGES:  # an exported folder needs neither TensorFlow nor Keras
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def openapi(*, token: bool) -> dict[str, Json]:
    """Return the OpenAPI description of the server.

    Args:
        token: Whether requests need one.
    """
    row: Schema = {
        name: {
            "type": ["number" if name in NUMBERS else "string", "null"],
            **({"description": _ABOUT[name]} if name in _ABOUT else {}),
        }
        for name in COLUMNS
    }
    schemas: Schema = {
        "Prediction": {"type": "object", "properties": row, "required": [*COLUMNS]},
        "Predictions": _object(
            predictions={"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}
        ),
        "Error": _object(error={"type": "string", "description": "what must hold, and what to do"}),
        "Model": _object(
            class_names={
                "type": "array",
                "items": {"type": "string"},
                "minItems": 2,
                "maxItems": 2,
            },
            positive_class={"type": "string"},
            threshold={"type": "number", "minimum": 0, "maximum": 1},
            guarantee={
                "type": ["string", "null"],
                "description": "what is promised of the images that are decided; null: all are",
            },
            unfamiliar_level={
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "an image whose familiarity is at most this is called unfamiliar; 0: none is",
            },
            image_size={"type": "array", "items": {"type": "integer"}},
            accuracy={"type": ["string", "null"]},
            fingerprint={"type": "string"},
            versions={"type": "object", "additionalProperties": {"type": "string"}},
            limits={"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        "Health": _object(status={"type": "string", "const": "ok"}),
    }
    schemas["NonePredicted"] = {
        "allOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Error", "Predictions")]
    }
    body: Schema = {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "images": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    refusals = {
        "400": "no image, or a damaged form",
        "401": "the token is missing",
        "403": "a foreign host name or page",
        "408": "the request did not arrive in time",
        "413": "too many or too large files",
        "503": "too many images wait",
    }
    if not token:
        del refusals["401"]
    description: dict[str, Json] = {
        "openapi": "3.1.0",
        "info": {
            "title": "tlkit serve",
            "version": __version__,
            "description": "An image classifier of two classes.",
        },
        "paths": {
            "/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Say what is on images: the files of a form, or the bytes of one as the body.",
                    "requestBody": {"required": True, "content": body},
                    "responses": {
                        "200": _answer("a row for each file, in the order sent", "Predictions"),
                        "422": _answer("no file can be read as an image", "NonePredicted"),
                        **{status: _answer(why, "Error") for status, why in refusals.items()},
                    },
                }
            },
            "/model": _get("model", "What the classifier is.", "Model"),
            "/health": _get("health", "Whether the server runs; needs no token.", "Health"),
        },
        "components": {"schemas": schemas},
    }
    if token:
        description["components"] = {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        }
        description["security"] = [{"token": []}]
    return description


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _answer(about: str, schema: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": about, "content": content}


def _get(name: str, about: str, schema: str) -> Schema:
    return {
        "get": {
            "operationId": name,
            "summary": about,
            "responses": {"200": _answer("what was asked for", schema)},
        }
    }
