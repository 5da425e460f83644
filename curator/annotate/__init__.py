"""People refine captions in Label Studio: tasks are pushed with predictions, annotations pulled as caption revisions.

The catalog is the truth; Label Studio is a client of it.
"""
