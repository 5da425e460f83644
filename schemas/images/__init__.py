"""Rules for reading images that both programs share: JPEG, orientation, bit depth."""
