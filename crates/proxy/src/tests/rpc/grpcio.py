"""gRPC's own library for Python on both sides of the door.

usage: grpcio.py serve             prints the port, and serves until its standard input ends
       grpcio.py call ADDRESS HOST calls, and ends with "all steps passed"
"""

import queue
import sys
from concurrent import futures

import grpc

LARGE = 3 << 20


def unary(request, context):
    return request


def collect(requests, context):
    lengths = [len(request) for request in requests]
    return f"{len(lengths)} {sum(lengths)}".encode()


def expand(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def chat(requests, context):
    yield from requests


def head(request, context):
    seen = dict(context.invocation_metadata())
    context.send_initial_metadata([("x-first", "1")])
    context.set_trailing_metadata([("x-last-bin", bytes(range(256)))])
    return f"{seen.get('x-mine')} {seen.get('x-mine-bin')} {context.time_remaining() < 60}".encode()


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: ü")


def silent(request, context):
    """Answers nobody, once the client is gone or its deadline over, and remembers that."""
    left = futures.Future()
    context.add_callback(lambda: left.set_result(None))
    left.result(timeout=20)
    LEFT.append(1)
    return b""


def left(request, context):
    return str(len(LEFT)).encode()


LEFT = []


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Expand": grpc.unary_stream_rpc_method_handler(expand),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Head": grpc.unary_unary_rpc_method_handler(head),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Silent": grpc.unary_unary_rpc_method_handler(silent),
        "Left": grpc.unary_unary_rpc_method_handler(left),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


def expect_status(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError(f"{code} was expected")


def call(address, host):
    channel = grpc.insecure_channel(address, options=[("grpc.default_authority", host)])
    name = "/test.Echo/{}".format
    ask = channel.unary_unary(name("Unary"))
    for length in [0, 1, LARGE]:
        assert ask(b"m" * length, timeout=20) == b"m" * length, length
    print("unary", flush=True)

    assert channel.stream_unary(name("Collect"))(iter([b"m" * n for n in range(100)]), timeout=20) == b"100 4950"
    print("client streaming", flush=True)

    numbers = channel.unary_stream(name("Expand"))(b"100", timeout=20)
    assert [int(number) for number in numbers] == list(range(100))
    print("server streaming", flush=True)

    questions = Turn()
    answers = channel.stream_stream(name("Chat"))(questions, timeout=20)
    for number in range(50):
        questions.say(b"is %d there?" % number)
        assert next(answers) == b"is %d there?" % number
    questions.end()
    assert list(answers) == []
    print("both", flush=True)

    metadata = [("x-mine", "1"), ("x-mine-bin", b"\x00\xff")]
    answer, done = channel.unary_unary(name("Head")).with_call(b"", timeout=20, metadata=metadata)
    assert answer == b"1 b'\\x00\\xff' True", answer
    assert dict(done.initial_metadata())["x-first"] == "1"
    assert dict(done.trailing_metadata())["x-last-bin"] == bytes(range(256))
    print("metadata", flush=True)

    error = expect_status(grpc.StatusCode.FAILED_PRECONDITION, lambda: channel.unary_unary(name("Fail"))(b"", timeout=20))
    assert error.details() == "not now: ü", error
    expect_status(grpc.StatusCode.UNIMPLEMENTED, lambda: channel.unary_unary(name("Nothing"))(b"", timeout=20))
    print("statuses", flush=True)

    expect_status(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: channel.unary_unary(name("Silent"))(b"", timeout=0.2))
    given_up = channel.unary_unary(name("Silent")).future(b"", timeout=20)
    given_up.cancel()
    assert given_up.cancelled()
    # The server has a deadline of its own from the header; what was cancelled may not have been sent at all.
    for _ in range(1000):
        if int(channel.unary_unary(name("Left"))(b"", timeout=20)) >= 1:
            break
    else:
        raise AssertionError("the server does not know the deadline")
    print("deadline and cancellation", flush=True)
    channel.close()
    print("all steps passed")


class Turn:
    """Messages that are sent when they are said."""

    def __init__(self):
        self.messages = queue.Queue()

    def say(self, message):
        self.messages.put(message)

    def end(self):
        self.messages.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        message = self.messages.get()
        if message is None:
            raise StopIteration
        return message


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call(*sys.argv[2:])
