"""The examples of docs/how-to/alerts.md, started as the sensor starts them: what a mail server and Slack get."""

from __future__ import annotations

import json
import re
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from fly64_assets.automation.sensors import notify
from fly64_assets.errors import Fly64Error

PAGE = Path(__file__).parents[2] / "docs/how-to/alerts.md"
RUN = {
    "run": "0123",
    "job": "cell",
    "assets": ["overlap_view"],
    "base": "camera_0123abcd",
    "dose": "1000",
    "view": None,
    "message": "Steps failed: overlap_view.",
    "begun_again": False,
    "steps": [{"step": "overlap_view", "reason": "dose_1000/patched_train.npz: has SHA256 12, expected 34"}],
}


@pytest.fixture
def command(tmp_path):
    """Command line of an example, as a user saves it."""

    def save(name: str) -> str:
        (code,) = re.findall(rf"```python\n# {name}\n(.*?)```", PAGE.read_text(), re.S)
        (tmp_path / name).write_text(code)
        return f"{sys.executable} {tmp_path / name}"

    return save


@pytest.fixture
def serve():
    """Start a server on a free port of this machine; its address."""
    running = []

    def start(server: socketserver.TCPServer) -> str:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def test_mail(command, serve, monkeypatch):
    lines = []

    class Mail(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 ready\r\n")
            content = False
            for line in self.rfile:
                text = line.decode().rstrip()
                lines.append(text)
                if content and text != ".":
                    continue
                content = text.lower() == "data"
                answer = {"data": b"354 go on", "quit": b"221 bye"}.get(text.lower(), b"250 ok")
                self.wfile.write(answer + b"\r\n")
                if text.lower() == "quit":
                    return

    monkeypatch.setenv("MAIL_HOST", serve(socketserver.TCPServer(("127.0.0.1", 0), Mail)))
    monkeypatch.setenv("MAIL_TO", "lab@example.org")
    notify(command("mail.py"), RUN)
    assert any(line.upper().startswith("RCPT TO:<LAB@EXAMPLE.ORG>") for line in lines)
    assert "Subject: cell failed: camera_0123abcd 1000" in lines
    assert "overlap_view: dose_1000/patched_train.npz: has SHA256 12, expected 34" in lines


def test_slack(command, serve, monkeypatch):
    received = []

    class Slack(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(
                (self.headers["Content-Type"], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(500 if self.path == "/gone" else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    address = f"http://{serve(HTTPServer(('127.0.0.1', 0), Slack))}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SLACK_WEBHOOK", f"{address}/services/T0/B0/x")
    notify(command("slack.py"), RUN)
    ((kind, document),) = received
    assert kind == "application/json"
    reason = "• overlap_view: dose_1000/patched_train.npz: has SHA256 12, expected 34"
    assert document == {"text": f"*cell* failed: camera_0123abcd 1000\n{reason}"}
    notify(command("slack.py"), RUN | {"begun_again": True})
    assert len(received) == 1
    notify(command("slack.py"), RUN | {"steps": []})
    assert received[1][1]["text"].endswith("\nSteps failed: overlap_view.")
    monkeypatch.setenv("SLACK_WEBHOOK", f"{address}/gone")
    with pytest.raises(Fly64Error, match="ended with status 1"):
        notify(command("slack.py"), RUN)
