"""A web server that runs the Python it is sent, and answers with what that says: the world seen from inside a sandbox."""

import json
import os
import signal
import sys
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

METADATA = "http://metadata.google.internal/computeMetadata/v1/"


def get(url, headers=()):
    """Status and body, or what went wrong."""
    # No proxy of the environment, and no redirect that is not looked at.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=3) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return f"0 {error!r}"


def meta(path, **headers):
    """What the metadata server says."""
    return get(METADATA + path, {"Metadata-Flavor": "Google", **headers})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("here")

    def do_POST(self):
        source = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = []
        try:
            exec(source, {"say": said.append, "get": get, "meta": meta, "json": json})
        except Exception:  # told to whoever sent it
            said.append(traceback.format_exc())
        self.answer("\n".join(str(line) for line in said))

    def answer(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    # As process 1 it would not hear of it, and be waited for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
