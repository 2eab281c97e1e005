"""The live page of a stack: a process of its own that reads what the stack writes, and serves it."""
