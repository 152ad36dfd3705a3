"""From features to a classifier: the head, phases of fine-tuning, folds.

In: a folder or its spec, and what to train. Out: a `TransferClassifier`.

Files in reading order: `transfer` (the whole flow), `schedule` (what to train), `settings` (all
defaults filled in), `division` (which images train and which evaluate), `fit` (head, then phases),
`heads` (a head on its backbone), `head` (the exact head), `newton` (its solver), `finetune` (one
phase), `epoch_state` and `fold_state` (checkpoints), `references` (what tells the
unfamiliar), `recording` (metrics and metadata),
`cross_validation`.
"""
