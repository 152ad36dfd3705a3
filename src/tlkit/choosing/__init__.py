"""What to try, and what to collect, before anybody trains in earnest.

In: a folder, and networks. Out: which of them is worth its price here, whether more images would help, and
which ones to label next.

Files in reading order: `candidates` (which networks there are to choose from), `compare` (the work),
`shared_pass` (one decode for all), `cost` (of an image), `rule` (which one is recommended),
`comparison` (what came out); `learning_curve` (the work), `subsets` (nested), `power_law` (what goes on from
there), `curve` (what came out); `suggest` (what to label next).
"""
