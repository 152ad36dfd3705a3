"""From examples to features: each image once through the frozen part of a backbone, kept for the next run.

In: examples and a backbone. Out: pooled features and activations, one row an example and view.

Files in reading order: `frozen_part` (which engine, kept where), `passes` (the work), `views` (rows
by example and view), `journal` (what is done so far), `run_folders` (cache and checkpoint).
"""
