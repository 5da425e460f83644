"""Image files: formats, decoding, where an image's bytes are, thumbnails."""
