"""The world outside of a sandbox: a name server that knows outside.test, and a web server.

usage: outside.py ADDRESS PORT
"""

import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])
NAME = b"\x07outside\x04test\x00"


class Dns(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        question_end = query.index(b"\x00", 12) + 5
        question = query[12:question_end]
        is_a = question[-4:-2] == b"\x00\x01"
        known = question[:-4].lower() == NAME
        answers = 1 if known and is_a else 0
        flags = b"\x81\x80" if known else b"\x81\x83"
        reply = query[:2] + flags + b"\x00\x01" + bytes([0, answers]) + b"\x00\x00\x00\x00" + question
        if answers:
            reply += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton(ADDRESS)
        sock.sendto(reply, self.client_address)


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"hello from outside"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


threading.Thread(target=socketserver.UDPServer((ADDRESS, 53), Dns).serve_forever, daemon=True).start()
HTTPServer((ADDRESS, PORT), Web).serve_forever()
