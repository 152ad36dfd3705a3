"""From a folder to labelled examples, and to the splits that they are dealt out to.

In: a folder and a `DatasetSpec`. Out: a `Listing` of examples, an audit of it, a `Split`, folds, a
`tf.data.Dataset`.

Files in reading order: `folders` (walking), `dataset` (spec and listing), `duplicates`, `audit`,
`split` (dealing out), `split_dataset` (read and split a folder), `tf_data`.
"""
