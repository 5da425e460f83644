"""The trainer: takes an exported snapshot, finetunes, samples the same seeds at chosen epochs, compares runs."""
