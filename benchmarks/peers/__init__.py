"""The same job through what one would take instead of Stoker, and through Stoker: `make bench-peers`."""
