"""The commands of `simfleet up` and its relatives: arguments, tables, logs, the stack's control socket."""
