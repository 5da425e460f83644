"""Against a real Label Studio; all of it is marked `label_studio`."""
