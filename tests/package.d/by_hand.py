"""Runs the installed service in a root, as its unit says, and listens to what it tells the service manager."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

root = sys.argv[1]
unit = open(f"{root}/usr/lib/systemd/system/mcp-bridged.service").read()
command = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).split("=", 1)[1].split()

path = f"{root}/run/notify"
if os.path.exists(path):
    os.unlink(path)
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(path)
os.chmod(path, 0o666)
manager.settimeout(30)


def told(wanted):
    """The next datagram that has all of `wanted`."""
    seen = []
    while True:
        try:
            datagram = manager.recv(4096).decode()
        except TimeoutError:
            sys.exit(f"waited in vain for {wanted} after {seen}")
        if all(any(line.startswith(want) for line in datagram.split("\n")) for want in wanted):
            print("  " + datagram.replace("\n", " | "))
            return datagram
        seen.append(datagram)


os.makedirs(f"{root}/var/lib/mcp-bridged", exist_ok=True)
environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "3000000"}
log = open(f"{root}.by-hand.log", "w")
service = subprocess.Popen(
    ["chroot", "--userspec=mcp-bridged:mcp-bridged", root, *command], env=environment, stdout=log, stderr=log
)
try:
    told(["READY=1", "STATUS=1/3 ready"])
    with urllib.request.urlopen("http://127.0.0.1:48001/health") as answer:
        assert answer.status == 200
    told(["WATCHDOG=1"])
    service.send_signal(signal.SIGHUP)
    told(["RELOADING=1", "MONOTONIC_USEC="])
    told(["READY=1"])
    service.send_signal(signal.SIGTERM)
    told(["STOPPING=1", "STATUS=", "EXTEND_TIMEOUT_USEC="])
    assert service.wait(30) == 0, service.returncode
finally:
    service.kill()
