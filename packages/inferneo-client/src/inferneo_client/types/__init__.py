"""Receives nothing; hands on what servers answer, in one file per resource."""
