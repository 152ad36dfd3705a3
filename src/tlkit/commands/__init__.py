"""What each command of `tlkit` takes and does: training, judging, and looking at what there is."""
