"""The sections of the Evaluate tab, one file each."""
