"""The flags as data: one table a source, all of them by name, and how the text of a value is read."""
