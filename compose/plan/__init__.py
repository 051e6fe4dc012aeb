"""Plans: the operations that turn what the engine has into what the project says. Pure."""
