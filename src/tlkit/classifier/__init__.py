"""What a user holds: predict, evaluate, save, load.

In: a network and its record, or a `.keras` file. Out: predictions, evaluations, a `.keras` file.

Files in reading order: `classifier`, `measure` (on labelled images), `predictor` (files to logits),
`record` (what travels with the network), `artifact` (the file).
"""
