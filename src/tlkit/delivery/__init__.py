"""What leaves tlkit: exported networks, tables of predictions, a server.

In: a classifier. Out: a folder that other programs run, compared with the classifier; a table, a
row an image; a page and an API.

Files in reading order: `export`, `export_formats`, `export_sample` (the images it is compared on),
`export_check` (how far it may be); `predictions`, `prediction_files` (which images),
`prediction_job` (what is done so far); `serve`, `server_app` (which address gives what),
`server_access` (who may ask), `server_uploads` (what a request brings), `server_batches` (from many
requests to predictions), `server_page` (for people), `server_api` (for programs),
`server_connections` (those that hang).
"""
