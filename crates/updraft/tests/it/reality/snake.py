"""A web server in Debian's Python that fetches what it is asked to: the way out of a sandbox, seen from inside."""

import os
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        try:
            body, status = urllib.request.urlopen(query["url"][0], timeout=10).read(), 200
        except Exception as error:  # told to whoever asked
            body, status = repr(error).encode(), 502
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
