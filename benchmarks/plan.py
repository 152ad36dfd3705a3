"""What a folder of any size costs on a cluster: the arithmetic behind docs/scaling.md.

    python benchmarks/plan.py [--images 1e5 1e7 1e9] [--cores 256] [--decode-ms 6.5] …

Every rate is an argument; the defaults are those that docs/scaling.md states, with what measured them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

GB, HOUR = 1e9, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one image costs, and what the cluster is. A core is one core for one second."""

    file_bytes: float = 373_000
    decode_ms: float = 6.6  # of a core
    forward_ms: float = 11.1  # of a core
    list_us: float = 8.9
    list_bytes: float = 590  # of the driver's memory
    driver_us: float = 65  # of the driver: facts read back, the split
    facts_bytes: float = 1_700  # of the driver's memory
    stored_bytes: float = 4_900
    feature_bytes: float = 5_120
    passes: float = 32  # of the head over all features
    head_us: float = 3.7  # of a core, in each pass
    search_us: float = 49  # of a core: whether a thumbnail is there more than once
    cores: float = 256
    node_cores: float = 16
    disk_gb: float = 1  # a second, where the head is solved


def costs(count: float, rates: Rates) -> dict[str, str]:
    """Return what so many images cost, by what is to be paid."""
    network = count * (rates.decode_ms + rates.forward_ms) / 1e3 / HOUR
    read = rates.file_bytes / ((rates.decode_ms + rates.forward_ms) / 1e3) * rates.node_cores
    features = count * rates.feature_bytes
    head = max(
        count * rates.passes * rates.head_us / 1e6, rates.passes * features / GB / rates.disk_gb
    )
    return {
        "images to read": size(count * rates.file_bytes),
        "decode": hours(count * rates.decode_ms / 1e3),
        "forward": hours(count * rates.forward_ms / 1e3),
        f"decode and forward on {rates.cores:g} cores": time(network * HOUR / rates.cores),
        f"what a node of {rates.node_cores:g} cores reads then": f"{size(read)}/s",
        "features stored": size(count * rates.stored_bytes),
        "listing, on the driver": time(count * rates.list_us / 1e6),
        "facts and split, on the driver": time(count * rates.driver_us / 1e6),
        "memory of the driver": size(count * (rates.list_bytes + rates.facts_bytes)),
        "features beside the driver": size(features),
        "head, on the driver": time(head),
        "search for duplicates, on the driver": time(count * rates.search_us / 1e6),
    }


def size(count: float) -> str:
    """Write bytes for people: three digits and a unit.

    >>> size(5.12e9)
    '5.12 GB'
    """
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = next((n for n in range(len(units)) if count < 999.5 * 1000**n), len(units) - 1)
    return f"{count / 1000**power:.3g} {units[power]}"


def hours(seconds: float) -> str:
    """Write core-hours with two digits."""
    return f"{float(f'{seconds / HOUR:.2g}'):,g} core-hours"


def time(seconds: float) -> str:
    """Write a time with two digits, in the unit that people would choose.

    >>> time(7000), time(90)
    ('1.9 hours', '1.5 minutes')
    """
    units = (("years", 365 * 24 * HOUR), ("days", 24 * HOUR), ("hours", HOUR), ("minutes", 60.0))
    name, unit = next(((n, u) for n, u in units if seconds >= u), ("seconds", 1.0))
    return f"{float(f'{seconds / unit:.2g}'):,g} {name}"


def table(counts: list[float], rates: Rates) -> str:
    """Return the costs as a table in Markdown, a column for each size."""
    columns = [costs(count, rates) for count in counts]
    lines = ["| | " + " | ".join(f"{count:,.0f} images" for count in counts) + " |"]
    lines += ["| --- |" + " --- |" * len(counts)]
    return "\n".join(
        lines + [f"| {row} | " + " | ".join(c[row] for c in columns) + " |" for row in columns[0]]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=float, nargs="+", default=[1e5, 1e7, 1e9])
    for field in fields(Rates):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=float, default=getattr(Rates(), field.name)
        )
    options = vars(parser.parse_args())
    print(table(options.pop("images"), Rates(**options)))


if __name__ == "__main__":
    main()
