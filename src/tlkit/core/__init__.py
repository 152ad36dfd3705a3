"""What every package builds on, and nothing of images.

In: settings, files, numbers. Out: settings that check themselves, files written whole, rows in
memory or on disk.

Files in reading order: `spec` (settings), `rows` (numbers by row), `atomic` (files written whole),
`locks`, `fingerprint`, `machine` (CPUs that may be used), `versions`, `tables` (CSV, JSON lines,
Parquet), `progress`, `quiet`.
"""
