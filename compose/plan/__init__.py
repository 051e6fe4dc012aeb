"""What is to be done: a project against what the engine says exists. Pure."""
