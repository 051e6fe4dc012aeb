"""`develop.watch`: brings changes of files into running containers."""
