"""`skiff doctor`: checks what the engine needs of the machine, with a cure for each finding."""
