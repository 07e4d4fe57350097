"""The architectures, one file each. A new file here is a new family: nothing else has to know of it."""
