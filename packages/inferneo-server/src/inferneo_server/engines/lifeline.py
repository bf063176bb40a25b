"""Receives nothing; hands on processes that end with the server, however it ends.

vLLM's engine processes outlive a killed parent and spin at full load, so each of them asks the
kernel to be killed with its parent. vLLM loads `die_with_parent` in every process by the entry
point `vllm.general_plugins`; the command line calls it earlier still, when a spawned process
imports the program.
"""

import ctypes
import multiprocessing
import os
import signal

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Bind this process to its parent. Does nothing in a process that is no child of the server.

    The kernel watches the parent's *thread*: an engine must be started by a thread that lives as
    long as the engine does.
    """
    # While a spawned process still imports its main module, only its name tells it apart.
    if multiprocessing.current_process().name == "MainProcess":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    # The parent may have died before the call above.
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)
