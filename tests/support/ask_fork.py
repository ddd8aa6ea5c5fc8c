"""Ask the server of tests/support/forks.py for a fork that does what this process was started for.

Run with the standard library alone, in a hundredth of a second.
"""

import json
import os
import signal
import socket
import sys

server, path, module, *words = sys.argv[1:]
folder = os.getcwd()  # noqa: PTH109  pathlib takes as long to import as all else here
request = json.dumps([path, module, words, folder, dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(server)
    socket.send_fds(connection, [len(request).to_bytes(4)], [0, 1, 2])
    connection.sendall(request)
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda number, _: connection.sendall(bytes([number])))
    answer = connection.recv(4)
code = int.from_bytes(answer, signed=True) if answer else 1
if code < 0:  # a signal ended the fork
    if -code in (signal.SIGINT, signal.SIGTERM):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
