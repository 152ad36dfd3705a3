"""Try an installed tlkit from outside: import, commands, a small classifier, each extra or its absence."""

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

TRAIN = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from tlkit import BackboneAdapter, FineTuneSchedule, TransferClassifier, transfer_classifier

folder = Path(sys.argv[1])
for label, name in enumerate(["dark", "light"]):
    (folder / "data" / name).mkdir(parents=True)
    for number in range(12):
        pixels = np.random.default_rng((label, number)).integers(120 * label, 120 * label + 100, (40, 40, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "data" / name / f"{number}.png")
classifier = transfer_classifier(
    folder / "data",
    backbone=BackboneAdapter("MobileNetV2", image_size=(32, 32), weights=None, alpha=0.35),
    schedule=FineTuneSchedule.head_only(),
)
image = folder / "data" / "light" / "0.png"
before = classifier.predict(image).probability
classifier.save(folder / "light.keras")
after = TransferClassifier.load(folder / "light.keras").predict(image).probability
assert 0 <= before <= 1 and abs(before - after) < 1e-6, (before, after)
print(classifier.evaluation)
"""
IMPORT = """
import sys, tlkit
assert not {"tensorflow", "keras", "numpy"} & sys.modules.keys(), "import tlkit is not free"
"""

# For each extra a module that comes with it, and a command that needs it and writes what its last word names.
EXTRAS = {
    "report": ("jinja2", "report light.keras -o report.html"),
    "parquet": ("pyarrow", "predict light.keras data -o predictions.parquet"),
    "export": ("ai_edge_litert", "export light.keras -o telephone"),
    "fast": ("tf2onnx", "export light.keras --format onnx -o onnx"),
}


def seconds(*command: str | Path) -> float:
    """Run a command that must succeed; return its best time of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def try_extra(tlkit: Path, folder: Path, extra: str) -> str:
    """Run what needs an extra; without it the error must hold the command that installs it."""
    module, words = EXTRAS[extra]
    installed = importlib.util.find_spec(module) is not None
    command: list[str | Path] = [tlkit, *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    works = done.returncode == 0 and (folder / words.split()[-1]).exists()
    helps = done.returncode != 0 and 'pip install "tlkit[' in done.stderr
    if not (works if installed else helps):
        raise SystemExit(f"tlkit {words}: exit code {done.returncode}\n{done.stderr}")
    return f"{extra}: {'works' if installed else 'absent, and the error says how to get it'}"


def main() -> None:
    """Print the times, and stop at the first thing that does not hold."""
    python, tlkit = Path(sys.executable), Path(sysconfig.get_path("scripts"), "tlkit")
    bare = seconds(python, "-c", "")
    import_seconds = seconds(python, "-c", IMPORT) - bare
    print(f"import tlkit: {import_seconds:.3f} s on top of Python's own {bare:.3f} s")
    help_seconds = seconds(tlkit, "--help")
    print(f"tlkit --help: {help_seconds:.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-c", TRAIN, folder], check=True)
        for extra in EXTRAS:
            print(try_extra(tlkit, Path(folder), extra))
    # Several times what they should be: the machine may be busy.
    if import_seconds > 0.5 or help_seconds > 1.0:
        raise SystemExit("too slow: something heavy is imported")


if __name__ == "__main__":
    main()
