"""A server of HTTP/1.1 that does what tests ask of a container, and nothing of its own accord.

    POST /echo    sends the body back piece by piece, and its trailers
    POST /refuse  answers 413 without reading the body
    GET /seen     the paths of all other requests so far
    GET /crash    ends the process with code 3
    GET /...      ok
"""
import os
import socket
import threading

seen = []


def chunks(file, take):
    while True:
        size = int(file.readline().split(b";")[0], 16)
        if size == 0:
            break
        take(file.read(size))
        file.readline()
    trailers = []
    while True:
        line = file.readline().strip()
        if not line:
            return trailers
        trailers.append(line)


def answer(connection, status, body, more=b""):
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), more)
    connection.sendall(head + body)


def echo(connection, file, headers):
    if b"expect" in headers:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-check\r\n\r\n")

    def send(data):
        connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    trailers = []
    if b"content-length" in headers:
        send(file.read(int(headers[b"content-length"])))
    else:
        trailers = chunks(file, send)
    connection.sendall(b"0\r\n" + b"".join(it + b"\r\n" for it in trailers) + b"\r\n")


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = connection.makefile("rb")
    while True:
        words = file.readline().split()
        if len(words) != 3:
            return connection.close()
        headers = {}
        while line := file.readline().strip():
            name, value = line.split(b":", 1)
            headers[name.lower()] = value.strip()
        path = words[1].decode()
        if path == "/seen":
            answer(connection, b"200 OK", "\n".join(seen).encode())
            continue
        seen.append(path)
        if path == "/crash":
            os._exit(3)
        elif path == "/refuse":
            answer(connection, b"413 Content Too Large", b"no", b"Connection: close\r\n")
            return connection.close()
        elif path == "/echo":
            echo(connection, file, headers)
        else:
            answer(connection, b"200 OK", b"ok")


listener = socket.create_server(("", int(os.environ["PORT"])), backlog=128)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
