"""JSON Schemas that Skiff publishes and validates with."""
