"""From a snapshot to batches: images, buckets, latents, captions, order."""
