"""Everything that is written to the terminal."""
