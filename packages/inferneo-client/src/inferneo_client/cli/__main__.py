"""Runs the program as `python -m inferneo_client.cli`."""

from inferneo_client.cli import main

if __name__ == "__main__":
    main()
