"""What every package builds on, and nothing of images.

In: settings, files, numbers. Out: settings that check themselves, files written whole, rows in
memory or on disk.

Files in reading order: `spec` (settings), `json_values` (reading them back), `rows` (numbers by
row), `atomic` (files written whole), `locks`, `home` (paths from the home folder), `fingerprint`,
`machine` (CPUs that may be used), `versions`, `tables` (CSV, JSON lines, Parquet),
`columns` (reading them), `progress`, `collecting` (many objects at once),
`ignoring` (warnings of others), `forks` (what a fork loses), `start_up` and `keras_backend` (before
TensorFlow is loaded), `tensorflow` (loads it), `keras_config` (settings under which layers differ).
"""
