"""How long does a table of labels take to be read and checked, beside listing the same folder?

python benchmarks/labels.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tlkit import DatasetSpec

FOLDERS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    count = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for number in range(count):
            label = "cat" if number % 3 else "dog"
            path = folder / label / f"{number % FOLDERS:02d}" / f"{number}.jpg"
            if number < FOLDERS * 3:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            rows.append(
                f"{path.relative_to(folder).as_posix()},{label},p{number // 5},{number % 7}"
            )
        table = folder / "labels.csv"
        table.write_text("path,label,patient,site\n" + "\n".join(rows))

        def read() -> int:
            spec = DatasetSpec.from_table(table, group="patient", slices=("site",))
            return len(spec.listing().examples)

        for title, measured in (
            ("table", read),
            ("folder", lambda: len(DatasetSpec(folder, classes=("cat", "dog")).listing().examples)),
        ):
            started, computed = time.perf_counter(), time.process_time()
            found = measured()
            seconds, cpu = time.perf_counter() - started, time.process_time() - computed
            print(f"{title}: {found:,} images in {seconds:.2f} s ({cpu:.2f} s of CPU)")


if __name__ == "__main__":
    main()
