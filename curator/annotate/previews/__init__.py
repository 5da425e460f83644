"""Previews of images for annotators: made once, served by signed URLs."""
