"""Connections to a Redis or Valkey at which machines count together (`sync=redis://…`)."""
