"""What a user holds: predict, evaluate, save, load.

In: a network and its record, a `.keras` file or an exported folder. Out: predictions, evaluations, a
`.keras` file.

Files in reading order: `classifier`, `measure` (on labelled images), `measure_pair` (two on the same images),
`predictor` (files to logits), `card` (what it must know to decide),
`guarantee` (what may be promised of its decisions), `record` (how it came about),
`artifact` (the file), `exported` (the folder), `runtimes` (what runs its network).
"""
