"""How much of a folder's speed does the server give its clients, how long do they wait, and does it grow?

    python benchmarks/serving.py --data DIR --weights DIR [--alpha 1.0] [--size 224] [--clients 16]

Photographs are written as JPEGs of 640 pixels; `predict_folder` reads them in a process of its own, again
and again; then as many clients as told, all in one more process, send them to `tlkit serve` without pause,
each over one connection. Clients, server and folder share the same cores. `ratio` is images a second from the
server beside `predict_folder`, before and after it; `p99 / image` the 99th percentile of what a client waits
beside the time of one image in the folder; `growth` the server's memory at the end of the last quarter beside
that of the first.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

from measuring import Figures, arguments, mobilenet, process, shared_arguments, write_json
from PIL import Image

LONG_SIDE = 640
COPIES = 2  # of the folder, so that a pass over it takes seconds


def write_photographs(data: Path, folder: Path) -> None:
    folder.mkdir()
    paths = [path for path in sorted(data.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((LONG_SIDE, LONG_SIDE))
        for copy in range(COPIES):
            small.save(folder / f"{number:05d}-{copy}.jpg", quality=90)


def train_and_save(options: argparse.Namespace) -> None:
    from tlkit import FineTuneSchedule, transfer_classifier

    transfer_classifier(
        options.data, backbone=mobilenet(options), schedule=FineTuneSchedule.head_only()
    ).save(options.place / "classifier.keras")


def predict_folder(options: argparse.Namespace) -> Figures:
    """Predict the photographs for a while, with the engine that a server takes."""
    from tlkit import TransferClassifier
    from tlkit.classifier.classifier import make_ready

    classifier = TransferClassifier.load(options.model)
    make_ready(classifier, 10**6)
    classifier.predict_folder(options.place / "photographs")
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds / 3:
        count += len(classifier.predict_folder(options.place / "photographs"))
    return {"images/s": count / (time.perf_counter() - started)}


def clients(options: argparse.Namespace) -> Figures:
    """Be all the clients."""
    contents = [path.read_bytes() for path in sorted((options.place / "photographs").iterdir())]
    waits: list[list[float]] = [[] for _ in range(options.clients)]
    errors: list[str] = []
    end = time.perf_counter() + options.seconds

    def client(number: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", options.port, timeout=60)
        while (before := time.perf_counter()) < end:
            content = contents[(number + len(waits[number]) * options.clients) % len(contents)]
            try:
                line.request("POST", "/predict", content, {"content-type": "image/jpeg"})
                answer = line.getresponse()
                said, status = answer.read().decode(), answer.status
            except (OSError, http.client.HTTPException) as error:
                said, status = repr(error), 0
                line.close()
            waits[number].append(time.perf_counter() - before)
            if status != 200:
                errors.append(said)

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    for thread in threads:
        thread.start()
    memory = []
    for quarter in range(4):
        time.sleep(max(0, started + (quarter + 1) * options.seconds / 4 - 1 - time.perf_counter()))
        memory.append(resident(options.server))
    for thread in threads:
        thread.join()
    found = sorted(wait for waits_of_one in waits for wait in waits_of_one)
    if errors:
        print(f"{len(errors)} errors, the first: {errors[0]}", file=sys.stderr)
    return {
        "images/s": (len(found) - len(errors)) / (time.perf_counter() - started),
        "median seconds": statistics.median(found),
        "p99 seconds": found[int(0.99 * len(found))],
        "errors": len(errors),
        "first MiB": memory[0],
        "last MiB": memory[-1],
    }


def resident(process_id: int) -> float:
    text = Path(f"/proc/{process_id}/status").read_text("ascii")
    (kibibytes,) = re.findall(r"VmRSS:\s+(\d+) kB", text)
    return int(kibibytes) / 1024


def serve(options: argparse.Namespace, model: Path, place: Path) -> Figures:
    command = [Path(sysconfig.get_path("scripts"), "tlkit"), "serve", model, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip().rstrip("/").rsplit(":", 1)[1]
        return run(options, place, "clients", "--port", port, "--server", server.pid)
    finally:
        server.terminate()
        server.wait()


def run(options: argparse.Namespace, place: Path, case: str, *more: object) -> Figures:
    settings = ["--data", options.data, *shared_arguments(options), "--place", place]
    settings += ["--seconds", options.seconds, "--clients", options.clients, "--case", case, *more]
    return process(sys.executable, __file__, *settings)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--format", choices=("keras", "onnx", "litert"), default="onnx")
    parser.add_argument("--model", type=Path, help="a classifier that is there already")
    for name in ("--place", "--case", "--port", "--server"):
        kind = int if name in ("--port", "--server") else str
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.place = options.place and Path(options.place)
    os.environ.setdefault("TLKIT_ENGINE", "auto")
    if options.case == "train":
        train_and_save(options)
        return
    if options.case:
        case = {"folder": predict_folder, "clients": clients}[options.case]
        print(json.dumps(case(options)))
        return
    with tempfile.TemporaryDirectory(prefix="tlkit-serving-") as folder:
        place = Path(folder)
        write_photographs(options.data, place / "photographs")
        model = options.model or place / "classifier.keras"
        if not options.model:
            run(options, place, "train")
            if options.format != "keras":
                command = Path(sysconfig.get_path("scripts"), "tlkit")
                process(
                    command, "export", model, "-o", place / "export", "--format", options.format
                )
                model = place / "export"
        before = run(options, place, "folder", "--model", model)
        served = serve(options, model, place)
        after = run(options, place, "folder", "--model", model)
    each = (before["images/s"] + after["images/s"]) / 2
    found = {
        "predict_folder images/s": each,
        "server images/s": served["images/s"],
        "ratio": served["images/s"] / each,
        "median seconds": served["median seconds"],
        "p99 seconds": served["p99 seconds"],
        "p99 / image": served["p99 seconds"] * each,
        "errors": served["errors"],
        "memory MiB": served["last MiB"],
        "growth": served["last MiB"] / served["first MiB"],
    }
    print(
        f"{options.clients} clients for {options.seconds:g} s, {options.size} px, {time.strftime('%F')}"
    )
    for name, value in found.items():
        print(f"{name:24}{value:12.3f}")
    write_json(options, {"runs": {"serving": [found]}})


if __name__ == "__main__":
    main()
