"""What can be tried: the space of a family or of all, ranges, and limits that are checked before anything is built."""
