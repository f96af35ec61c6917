import socket

for address in [("127.0.0.1", 5672), ("192.0.2.1", 80)]:
    try:
        socket.create_connection(address, timeout=2).close()
        print("connected")
    except OSError:
        print("no way out")
