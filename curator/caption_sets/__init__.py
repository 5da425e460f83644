"""Caption sets: revisions, versions, diff, history, accept, replace, counts."""
