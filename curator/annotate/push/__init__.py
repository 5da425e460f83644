"""Push captions to Label Studio as tasks with predictions."""
