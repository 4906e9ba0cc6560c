"""The same least as send_loop.c in plain Python: the clip paced as a live stream, the same bytes sent to everybody.

    python -m benchmarks.send_loop PORT FLUSH_MS SECONDS

FLUSH_MS 0 sends each tag by itself. No requests are parsed: whoever says something gets the stream. Ends after SECONDS.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import time

from benchmarks import clip

HTTP_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n"
FLV_HEAD = b"FLV\x01\x05\x00\x00\x00\x09" + bytes(4)


class SendLoop:
    """The stream, which is the clip in memory with new timestamps each lap, and its viewers, who are positions in it."""

    def __init__(self, port: int) -> None:
        material = clip.load()
        self.lap_ms = material.duration_ms
        self.head = HTTP_HEAD + FLV_HEAD + b"".join(clip.flv_tag(tag) for tag in material.headers)
        self.frames: list[tuple[int, int, int, bool]] = []  # (milliseconds, start, end, starts a GOP)
        stream = bytearray()
        for tag in material.frames:
            start = len(stream)
            stream += clip.flv_tag(tag)
            self.frames.append((tag.timestamp_ms, start, len(stream), tag.key))
        self.body = memoryview(stream)
        self.size = len(stream)
        self.written = self.newest_key = self.lap = self.next = 0
        self.asking: dict[int, socket.socket] = {}
        self.live: dict[int, socket.socket] = {}
        self.behind: dict[int, tuple[socket.socket, int]] = {}  # with the position
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)

    def run(self, flush_s: float, seconds: float) -> None:
        """Serve until the time is up."""
        start = due = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            if now >= due:
                before = self.written
                while self._next_at_ms() <= (now - start) * 1000:
                    self._write_tag()
                    if not flush_s:
                        self._fan_out(before)
                        before = self.written
                if flush_s:
                    self._fan_out(before)
                    due += flush_s
                else:
                    due = start + self._next_at_ms() / 1000
            for fd, event in self.poll.poll(max(0.0, due - time.monotonic())):
                self._turn(fd, event)

    def _next_at_ms(self) -> int:
        return self.lap * self.lap_ms + self.frames[self.next][0]

    def _write_tag(self) -> None:
        """The stream goes on by one tag: its bytes are there already, all but the time."""
        _, start, end, key = self.frames[self.next]
        stamp = struct.pack(">I", self._next_at_ms())
        self.body[start + 4 : start + 8] = stamp[1:] + stamp[:1]
        if key:
            self.newest_key = self.lap * self.size + start
        self.written = self.lap * self.size + end
        self.next += 1
        if self.next == len(self.frames):
            self.next, self.lap = 0, self.lap + 1

    def _piece(self, position: int) -> memoryview:
        """What comes after this position, up to the end of what is written or of the lap."""
        offset = position % self.size
        return self.body[offset : min(self.size, offset + self.written - position)]

    def _fan_out(self, position: int) -> None:
        while position < self.written:
            out = self._piece(position)
            count = len(out)
            missed = []
            for fd, sock in self.live.items():
                try:
                    sent = sock.send(out)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    sent = -1
                if sent != count:
                    missed.append((fd, sock, sent))
            for fd, sock, sent in missed:
                del self.live[fd]
                if sent < 0:
                    sock.close()
                    continue
                self.behind[fd] = (sock, position + sent)
                self.poll.modify(fd, select.EPOLLOUT | select.EPOLLRDHUP)
            position += count

    def _turn(self, fd: int, event: int) -> None:
        if fd == self.listener.fileno():
            self._accept()
        elif fd in self.asking:
            sock = self.asking.pop(fd)
            if not sock.recv(8192) or sock.send(self.head) < len(self.head):
                sock.close()
                return
            self.behind[fd] = (sock, self.newest_key)
            self.poll.modify(fd, select.EPOLLOUT | select.EPOLLRDHUP)
            self._catch_up(fd)
        elif event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
            sock = self.live.pop(fd) if fd in self.live else self.behind.pop(fd)[0]
            sock.close()
        else:
            self._catch_up(fd)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            self.asking[sock.fileno()] = sock
            self.poll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)

    def _catch_up(self, fd: int) -> None:
        sock, position = self.behind.pop(fd)
        if self.written - position > self.size:  # a lap behind: its bytes are gone
            sock.close()
            return
        try:
            while position < self.written:
                position += sock.send(self._piece(position))
        except BlockingIOError:
            self.behind[fd] = (sock, position)
            return
        except OSError:
            sock.close()
            return
        self.live[fd] = sock
        self.poll.modify(fd, select.EPOLLRDHUP)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("flush_ms", type=float)
    parser.add_argument("seconds", type=float)
    args = parser.parse_args()
    loop = SendLoop(args.port)
    print("ready", flush=True)
    loop.run(args.flush_ms / 1000, args.seconds)


if __name__ == "__main__":
    main()
