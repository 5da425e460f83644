"""Pull annotations from Label Studio as caption revisions."""
