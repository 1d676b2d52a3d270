"""SIGTERM: nothing that was begun is lost."""

import http.client
import json
import socket
import threading
import time
from collections import Counter

import pytest

ROW = json.dumps({"inputs": {"distance": [100], "speed": [50]}}).encode()
ANSWER = {"predictions": [{"prediction": 12.0}]}


class Client(threading.Thread):
    """Asks until it is refused a connection; counts what came of each request."""

    def __init__(self, server, keeps_connection):
        super().__init__()
        self.server = server
        self.keeps_connection = keeps_connection
        self.seen = Counter()

    def run(self):
        while "refused" not in self.seen:
            connection = self.server.connect()
            try:
                connection.connect()
            except ConnectionRefusedError:
                self.seen["refused"] += 1
                return
            self.ask_on(connection)
            connection.close()

    def ask_on(self, connection):
        headers = {} if self.keeps_connection else {"connection": "close"}
        while True:
            try:
                connection.request("POST", "/invocations", ROW, headers)
                answer = connection.getresponse()
                right = answer.status == 200 and json.loads(answer.read()) == ANSWER
                self.seen["right" if right else "wrong"] += 1
            except (http.client.HTTPException, OSError) as error:
                self.seen[f"lost: {error!r}"] += 1
                return
            if answer.will_close:
                return


def test_a_stop_under_load_loses_no_request(start):
    server = start("regression")
    clients = [Client(server, keeps_connection=number % 2 == 0) for number in range(12)]
    for client in clients:
        client.start()
    time.sleep(1)

    assert server.stop() == 0

    for client in clients:
        client.join(30)
    total = sum((client.seen for client in clients), Counter())
    assert set(total) == {"right", "refused"}, total
    assert total["refused"] == len(clients)
    assert total["right"] > 100


def test_a_request_half_sent_is_answered(start):
    server = start("regression")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(ROW) + ROW[:10])
        time.sleep(0.2)
        server.process.terminate()
        time.sleep(1.5)
        connection.sendall(ROW[10:])
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())) == (200, ANSWER)
        assert answer.getheader("connection") == "close"
    assert server.process.wait(10) == 0


def test_while_stopping_it_is_alive_but_not_ready(start):
    server = start("regression")
    pages = {"/v2/health/live": 200, "/v2/health/ready": 503, "/v2/models/demo/ready": 503, "/ping": 503, "/health": 503}
    connections = {path: server.connect() for path in pages}
    for connection in connections.values():
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().read() == b"{}"

    server.process.terminate()
    time.sleep(0.1)

    seen = {}
    for path, connection in connections.items():
        connection.request("GET", path)
        seen[path] = connection.getresponse().status
    assert seen == pages
    assert server.process.wait(10) == 0


def test_an_idle_server_stops_at_once(start):
    server = start("regression")
    begun = time.perf_counter()

    assert server.stop() == 0
    assert time.perf_counter() - begun < 5


@pytest.mark.integration
def test_an_idle_connection_outlives_the_routers(regression):
    connection = regression.connect()
    connection.request("GET", "/ping")
    connection.getresponse().read()
    connection.sock.settimeout(0.1)

    time.sleep(95)  # the router keeps idle connections for 90 s

    with pytest.raises(TimeoutError):
        connection.sock.recv(1)
