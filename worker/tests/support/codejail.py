"""A codejail service without walls, for tests: its HTTP contract, and a wrapper that does what its own does.

It prints its port and ends with its standard input. What the code of a job says in a comment makes it
misbehave: `# service: hang`, `# service: drop`, `# service: 500`, `# service: nonsense`.
"""

import email
import email.policy
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CPU_S, REALTIME_S = 1, 6
LIBRARY = "python_lib.zip"

# The first frame of every traceback is this program's call of exec.
WRAPPER = '''\
import sys, json


class Nowhere:
    def write(self, *given, **named):
        pass

    def flush(self, *given, **named):
        pass


sys.stdout = Nowhere()
code, g_dict = json.load(sys.stdin)
for entry in PATHS:
    sys.path.append(entry)
exec(code, g_dict)


def plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return value


def json_safe(given):
    kept = {}
    for key, value in given.items():
        if key == "__builtins__":
            continue
        if not isinstance(value, (type(None), int, float, bytes, str, list, tuple, dict)):
            continue
        try:
            kept.update(json.loads(json.dumps({plain(key): plain(value)})))
        except Exception:
            pass
    return kept


json.dump(json_safe(g_dict), sys.__stdout__)
'''


def limited():
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))


def run(payload, files):
    """The globals and the message of one execution."""
    given = payload["globals_dict"]
    home = tempfile.mkdtemp(prefix="codejail-")
    try:
        os.mkdir(os.path.join(home, "tmp"))
        with open(os.path.join(home, "jailed_code"), "w", encoding="utf-8") as file:
            file.write(WRAPPER.replace("PATHS", repr(payload.get("python_path") or [])))
        for name, content in files.items():
            with open(os.path.join(home, name), "wb") as file:
                file.write(content)
        program = subprocess.Popen(
            [sys.executable, "-E", "-B", "jailed_code"],
            cwd=home,
            env={"PATH": os.environ["PATH"], "TMPDIR": "tmp"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=limited,
        )
        text = json.dumps([payload["code"], given]).encode()
        try:
            out, err = program.communicate(text, timeout=REALTIME_S)
        except subprocess.TimeoutExpired:
            program.kill()
            out, err = program.communicate()
    finally:
        shutil.rmtree(home)
    status = program.returncode
    if status != 0:
        return given, (
            "Couldn't execute jailed code: "
            f"stdout: {out!r}, stderr: {err!r} with status code: {status}"
        )
    try:
        given.update(json.loads(out.decode("utf-8")))
    except ValueError:
        return given, "Sandboxed code produced corrupted stdout."
    return given, None


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *given):
        pass

    def say(self, status, answer):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def parts(self):
        """The payload's text and the files of the request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind == "application/x-www-form-urlencoded":
            return urllib.parse.parse_qs(body.decode("ascii"))["payload"][0], {}
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        fields = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in message.iter_parts()
        }
        return fields.pop("payload").decode("utf-8"), fields

    def do_POST(self):
        if self.path != "/api/v0/code-exec":
            return self.say(404, {"detail": "Not found."})
        text, files = self.parts()
        payload = json.loads(text)
        code = payload["code"]
        if "# service: hang" in code:
            time.sleep(30)
        if "# service: drop" in code:
            self.close_connection = True
            return None
        if "# service: 500" in code:
            return self.say(500, {"error": "Codejail service is not correctly configured"})
        if "# service: nonsense" in code:
            return self.say(200, b"<html>")
        if set(payload.get("python_path") or []) - {LIBRARY}:
            return self.say(400, {"error": "Only allowed entry in 'python_path' is 'python_lib.zip'"})
        if set(files) - {LIBRARY}:
            return self.say(400, {"error": "Only allowed name for uploaded file is 'python_lib.zip'"})
        if payload.get("unsafely"):
            return self.say(400, {"error": "Refusing codejail execution with unsafely=true"})
        left, emsg = run(payload, files)
        answer = {"globals_dict": left}
        if emsg is not None:
            answer["emsg"] = emsg
        return self.say(200, answer)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    os._exit(0)


main()
