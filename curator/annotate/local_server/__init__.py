"""A Label Studio on this computer, started and stopped by `curator annotate start`."""
