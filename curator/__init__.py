"""The curator: indexes images, captions them by strategy, commits immutable versions, exports snapshots."""
