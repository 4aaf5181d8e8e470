"""The citation network as a graph and a list."""
