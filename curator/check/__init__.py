"""`curator check`: find what is wrong with captions before training on them. See run.py."""
