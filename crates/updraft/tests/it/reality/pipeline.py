"""Both ends of a pipeline. `serve`: keeps the input that all tasks share, and what they write. `task`: one of them. `gather`:
writes what there is of results.

Without anything but the standard library, as people write such things.
"""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IDENTITY = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity?audience="


class Keeper(BaseHTTPRequestHandler):
    """`GET /input`: the numbers. `PUT /results/INDEX`: a result. `GET /results`: all of them, by index."""

    numbers = [1000 + 7 * index for index in range(200)]
    results = {}

    def do_GET(self):
        self.answer(self.numbers if self.path == "/input" else self.results)

    def do_PUT(self):
        result = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.results.setdefault(self.path.rsplit("/", 1)[1], []).append(result)
        self.answer("kept")

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def call(path, value=None):
    """Asks the keeper as the account that the job runs as."""
    keeper = os.environ["KEEPER"]
    # Not through whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    identity = urllib.request.Request(IDENTITY + keeper, headers={"Metadata-Flavor": "Google"})
    token = opener.open(identity, timeout=30).read().decode()
    body = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(keeper + path, body, {"Authorization": "Bearer " + token})
    request.method = "GET" if value is None else "PUT"
    return json.loads(opener.open(request, timeout=30).read())


def primes_below(limit):
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit))


def task():
    index, attempt, count = (int(os.environ["CLOUD_RUN_TASK_" + part]) for part in ("INDEX", "ATTEMPT", "COUNT"))
    numbers = call("/input")
    assert count <= len(numbers), f"{len(numbers)} numbers for {count} tasks"
    result = primes_below(numbers[index])
    if index % 10 == 0 and attempt == 0:
        sys.exit(f"task {index} loses its first result")
    call(f"/results/{index}", {"attempt": attempt, "primes": result})


if sys.argv[1:] == ["task"]:
    task()
elif sys.argv[1:] == ["gather"]:
    for index, results in call("/results").items():
        print("result", index, json.dumps(results))
else:
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Keeper).serve_forever()
