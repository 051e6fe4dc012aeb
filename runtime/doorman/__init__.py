"""The doorman: holds what is to outlive both engine and keeper, the API's listening socket and the containers' streams."""
