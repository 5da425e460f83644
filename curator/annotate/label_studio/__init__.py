"""The connection to one Label Studio: HTTP, its API, our project in it, the labeling page."""
