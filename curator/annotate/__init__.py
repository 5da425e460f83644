"""People: captions refined in Label Studio. `page` is what they see, `images` what they look at, `server` runs it.

The catalog is the truth and Label Studio a client of it: tasks are pushed with predictions, annotations are pulled back
as caption revisions.
"""
