"""What to try, and what to collect, before anybody trains in earnest.

In: a folder, and networks. Out: which of them is worth its price here, whether more images would help, and
which ones to label next.

Files in reading order: `candidates` (which networks there are to choose from), `compare` (the work),
`shared_pass` (one decode for all), `cost` (of an image), `rule` (which one is recommended),
`comparison` (what came out).
"""
