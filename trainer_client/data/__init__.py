"""From a snapshot to training batches."""
