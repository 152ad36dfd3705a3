"""From labels and logits to metrics with intervals, in NumPy alone.

In: labels, logits or probabilities, features. Out: an `Evaluation`, a calibration, a threshold or two of
them with a guarantee, what is unfamiliar and whether the images have changed; the history of a training.

Files in reading order: `log_loss`, `rate` (a proportion with its interval), `metrics`,
`reliability` (calibration error), `slices` (where it is worse than elsewhere), `decision_counts` (what is
decided alone, and how well), `evaluate`, `bounds` (what so few mistakes prove), `scores` (labels and logits
of a split, cross-validation), `paired` (two sets of predictions on the same images), `paired_evaluation` (two
classifiers on them), `calibration`, `threshold`, `decisions` (two thresholds with a guarantee),
`decision_curve` (what every guarantee would buy), `familiarity`, `drift`, `history`.
"""
