"""`develop.watch`: changes of files here become changes of what runs."""
