"""Receives arguments; hands on answers: one module for each resource, with both flavours in it."""
