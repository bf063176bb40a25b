"""Receives requests; hands on answers: one module for each HTTP library, loaded when it is used."""
