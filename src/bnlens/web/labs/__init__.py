"""The labs: forms whose address is their state, and where they are computed."""
