"""The picker of a pool as a process: the reference picker or a Go binary."""
