"""Caption text: words, tokens, similarity, one-line form, printable form."""
