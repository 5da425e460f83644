"""Work on caption text: words, tokens, similarity, one-line form, what a terminal can print."""
