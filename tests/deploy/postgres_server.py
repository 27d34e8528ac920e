"""A PostgreSQL server of its own, on loopback, in a temporary folder.

Belongs here: the server's life. Does not belong here: what is asked of it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from endtoend.services import HOST, free_port

USER, PASSWORD = "fly64", "not:a@secret"
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
"""Where Debian and Ubuntu keep the programs of the installed versions, the newest last."""
MISSING = None if FOLDERS else "PostgreSQL is not installed: apt-get install postgresql"


class Server:
    """One server with a user that logs in with a password; it refuses to run as root, which lends it another user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fly64_postgres_"))
        self.port = free_port()
        self._owner = {}
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            self._owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._call("initdb", "-D", "data", "-U", USER, "--pwfile=password", "-A", "scram-sha-256", "-E", "UTF8", "-N")
        # Another time zone than UTC: the times of runs and events must not depend on the server's.
        settings = f"\nport = {self.port}\nlisten_addresses = '{HOST}'\nunix_socket_directories = ''\nfsync = off\n"
        settings += "timezone = 'America/Chicago'\nmax_connections = 200\n"
        with (self.folder / "data/postgresql.conf").open("a") as file:
            file.write(settings)

    def start(self) -> None:
        """Start it; returns when it answers."""
        self._call("pg_ctl", "start", "-w", "-D", "data", "-l", "log")

    def stop(self, mode: str = "fast") -> None:
        """``fast`` ends every connection; ``immediate`` ends as a crash does, and the next start recovers."""
        self._call("pg_ctl", "stop", "-w", "-m", mode, "-D", "data")

    def remove(self) -> None:
        """Stop it if it runs, and leave nothing behind."""
        if (self.folder / "data/postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def database(self, name: str) -> str:
        """Create a database; its URL without the password."""
        command = [FOLDERS[-1] / "createdb", "-h", HOST, "-p", str(self.port), "-U", USER, name]
        subprocess.run(command, check=True, env=os.environ | {"PGPASSWORD": PASSWORD})
        return f"postgresql://{USER}@{HOST}:{self.port}/{name}"

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(FOLDERS[-1] / program), *arguments]
        # pg_ctl leaves its server the output that it has itself.
        with (self.folder / "output").open("ab") as output:
            ended = subprocess.run(
                command,
                cwd=self.folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                check=False,
                **self._owner,
            )
        assert ended.returncode == 0, (self.folder / "output").read_text(errors="replace")
