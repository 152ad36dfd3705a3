"""What does the audit of a folder cost beside one plain decode of its files?

python benchmarks/audit.py --data DIR --weights DIR [--size 224]
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measuring import arguments, interleaved, table, timed, write_json
from PIL import Image

from tlkit import audit


def main() -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args()
    files = sorted(options.data.glob("*/*.jpg"))

    def decode_one(path: Path) -> None:
        with Image.open(path) as image:
            image.draft("RGB", (options.size, options.size))
            image.convert("RGB").resize((options.size, options.size), Image.Resampling.BILINEAR)

    def decode() -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(decode_one, files))

    sides = {"decode": timed(decode), "audit": timed(lambda: audit(options.data))}
    interleaved(sides, 1)  # so that no side pays for what is done only once
    runs = interleaved(sides, options.repeats)
    table(runs, baseline="decode")
    write_json(options, {"runs": runs})


if __name__ == "__main__":
    main()
