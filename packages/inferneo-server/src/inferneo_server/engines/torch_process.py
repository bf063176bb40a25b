"""Receives how to load a model; hands on a process of its own that runs it, over a socket.

It ends with the server: by the lifeline, and because the socket between them closes.
"""

import os
import queue
import socket
import threading
import warnings
from collections.abc import Callable

from inferneo_server.engines.lifeline import die_with_parent
from inferneo_server.engines.torch_messages import Command, NotLoaded, Options, Unpacker, packed

RECEIVE_BYTES = 256 * 1024


def main(connection: socket.socket, options: Options) -> None:
    """Load a model and work until the server is gone."""
    die_with_parent()
    # Steps are short, and torch's threads would else spin between them: on a machine that has other
    # work too, several times slower for everybody. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, commands.put), daemon=True).start()
    with warnings.catch_warnings():
        # Those of its parts are not ours to mend.
        warnings.simplefilter("ignore")
        try:
            # Not above: to import torch takes seconds, in which the server may go.
            from inferneo_server.engines.torch_worker import Worker, load

            worker = Worker(load(options), options.max_num_seqs, commands)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            connection.sendall(packed([NotLoaded(reason=reason)]))
            return
        connection.sendall(packed([worker.loaded]))
        worker.run(connection.sendall)


def _receive(connection: socket.socket, put: Callable[[Command], None]) -> None:
    unpacker = Unpacker()
    try:
        while data := connection.recv(RECEIVE_BYTES):
            for command in unpacker.commands(data):
                put(command)
    except OSError:
        pass
    # Nobody is left to work for, and a step may take long.
    os._exit(0)
