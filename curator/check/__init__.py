"""`curator check`: find faults in captions before training. See run.py."""
