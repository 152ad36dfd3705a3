"""From a folder or a table to labelled examples, and to the splits that they are dealt out to.

In: a folder or a table of labels, and its `DatasetSpec`. Out: a `Listing` of examples, an
audit of it, a `Split`, folds, a `tf.data.Dataset`.

Files in reading order: `folders` (walking), `layout` (where class folders lie), `labelled` (labels by
folders and names), `table` (labels by rows), `example`, `label_decisions` (labels that someone
corrected), `dataset` (spec and listing), `shapes` (of the images), `facets` (facts that results are
reported by), `thumbnails` (which are alike), `duplicates`, `oddities` (what one image's facts say),
`split` (dealing out), `shortcuts` (facts that tell the classes apart), `audit`, `folder_warnings` (what
training says aloud), `split_dataset` (read and split a folder), `tf_data`.
"""
