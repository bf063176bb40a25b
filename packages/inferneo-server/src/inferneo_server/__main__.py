"""Receives `python -m inferneo_server`; hands on to the command line."""

from inferneo_server.cli import main

if __name__ == "__main__":
    main()
