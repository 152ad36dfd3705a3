"""From features to a classifier: the head, phases of fine-tuning, folds.

In: a folder or its spec, and what to train. Out: a `TransferClassifier`.

Files in reading order: `transfer` (the whole flow), `schedule` (what to train), `settings` (all
defaults filled in), `fit` (head, then phases), `head` (the exact head), `newton` (its solver),
`finetune` (one phase), `epoch_state` (its checkpoint), `cross_validation`.
"""
