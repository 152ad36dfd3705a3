"""What leaves tlkit: exported networks and tables of predictions.

In: a classifier. Out: a folder that other programs run, compared with the classifier; a table, a
row an image.

Files in reading order: `export`, `export_formats`, `export_sample` (the images it is compared on),
`export_check` (how far it may be); `predictions`, `prediction_files` (which images),
`prediction_job` (what is done so far).
"""
