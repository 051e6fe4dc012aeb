"""`skiff doctor`: what this machine offers to the engine, what is missing, and the exact cure."""
