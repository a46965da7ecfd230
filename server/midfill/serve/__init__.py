"""The engine's end of the wire: its process and its HTTP interface, for one user or a team."""
