"""N RTMP publishers in one process, each sending the clip at its own pace, one write for each tag as an encoder does.

    python -m benchmarks.publishers --url 'rtmp://127.0.0.1:1935/live/bench-{n}' --count 100

`{n}` in the URL becomes the number of the publisher. `flv://host:port` is for the bare loop: the same, as an FLV file.
"""

from __future__ import annotations

import argparse
import heapq
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import clip, packed, rtmp
from benchmarks.load import Orders, cpu_s, raise_file_limit, say

COUNT_MAX = 500
CONNECTS_AT_ONCE = 32
"""So many begin side by side: a server that takes its time for each would end the first before the last is there."""

STAGGER_S = 2.0
"""Publishers start spread over a GOP, so that neither their key frames nor their frames come all at once."""

STAGGER_STEP = (5**0.5 - 1) / 2
"""Each starts so much of a GOP after the one before, round and round: the golden ratio spreads any number of them evenly."""

LISTEN_EVERY_S = 0.1
"""How often what servers send to their publishers (acknowledgements, pings) is read."""

BACKLOG_BYTES_MAX = 4 * 1024 * 1024
"""A server that leaves so much unread has stopped to take the stream: that publisher ends."""


class Publisher:
    """One publisher: where it is in the clip, and what its socket would not take yet."""

    def __init__(self, url: str) -> None:
        self.demuxer: rtmp.Demuxer | None = None
        self.socket, self.stream = self._connect(url)
        self.socket.setblocking(False)
        self.send = self.socket.send
        self.position = 0
        self.lap_at = 0.0
        self.lap_ms = 0
        self.backlog = b""
        self.alive = True

    def _connect(self, url: str) -> tuple[socket.socket, int | None]:
        """The socket, and the message stream id of RTMP."""
        if url.startswith("flv:"):
            return packed.FlvConnection(url).socket, None
        connection = rtmp.Connection(url)
        try:
            connection.publish()
        except BaseException:
            connection.socket.close()
            raise
        self.demuxer = connection.demuxer
        return connection.socket, connection.stream


class Publishers:
    """All publishers of this process."""

    def __init__(self, url: str, count: int, tick_ms: float) -> None:
        material = clip.load()
        self.tick_s = tick_ms / 1000
        with ThreadPoolExecutor(CONNECTS_AT_ONCE) as pool:
            self.publishers = list(pool.map(Publisher, [url.replace("{n}", str(number)) for number in range(count)]))
        self.packed = {
            stream: packed.pack_flv(material) if stream is None else rtmp.pack(material, stream)
            for stream in {each.stream for each in self.publishers}
        }
        self.sent_bytes = self.sent_tags = self.stalls = 0
        self.late_s_max = 0.0
        self._marked_at = time.monotonic()
        self._marked_cpu_s = cpu_s()
        self._poll = select.epoll()
        self._by_fd = {each.socket.fileno(): each for each in self.publishers}
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        start = time.monotonic()
        self._due: list[tuple[float, int]] = []
        for number, each in enumerate(self.publishers):
            each.lap_at = start + number * STAGGER_STEP % 1 * STAGGER_S
            each.backlog = self.packed[each.stream].headers
            heapq.heappush(self._due, (each.lap_at, number))

    def run(self, orders: Orders) -> None:
        """Publish until the orders say that it is enough."""
        due, now = self._due, time.monotonic
        listen_at = now()
        while due:
            at, number = due[0]
            wait_s = min(at, listen_at) - now()
            if wait_s > 0:
                time.sleep(wait_s)
            moment = now()
            if moment >= listen_at:
                listen_at = moment + LISTEN_EVERY_S
                self._listen()
                report, stop = orders.due()
                if report:
                    say(self.report())
                if stop:
                    return
            if moment >= at:
                self.late_s_max = max(self.late_s_max, moment - at)
                each = self.publishers[number]
                next_at = self._publish(each, moment)
                if each.alive:
                    heapq.heapreplace(due, (next_at, number))
                else:
                    heapq.heappop(due)
        say({"error": "no publisher is left"})

    def _publish(self, each: Publisher, now: float) -> float:
        """Send what is due and return when the next tag is."""
        material = self.packed[each.stream]
        frames, out = material.frames, []
        while True:
            data = frames[each.position].now(each.lap_ms)
            out.append(data)
            each.position += 1
            if each.position == len(frames):
                each.position = 0
                each.lap_ms += material.duration_ms
                each.lap_at += material.duration_ms / 1000
            at = each.lap_at + frames[each.position].at_ms / 1000
            if not self.tick_s:
                break
            at = (at // self.tick_s + 1) * self.tick_s
            if at > now:
                break
        self.sent_tags += len(out)
        self._write(each, data if len(out) == 1 else b"".join(out))
        return at

    def _write(self, each: Publisher, data: bytes | bytearray) -> None:
        if each.backlog:
            data, each.backlog = each.backlog + data, b""
        try:
            sent = each.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(each)
            return
        self.sent_bytes += sent
        if sent < len(data):
            self.stalls += 1
            each.backlog = bytes(data[sent:])
            if len(each.backlog) > BACKLOG_BYTES_MAX:
                self._end(each)

    def _listen(self) -> None:
        for fd, _ in self._poll.poll(0):
            each = self._by_fd[fd]
            try:
                data = each.socket.recv(rtmp.RECV_BYTES)
            except OSError:
                data = b""
            if not data:
                self._end(each)
                continue
            if each.demuxer is not None:
                for message in each.demuxer.feed(data):
                    each.backlog += rtmp.answer(message)

    def _end(self, each: Publisher) -> None:
        if each.alive:
            each.alive = False
            self._poll.unregister(each.socket)
            each.socket.close()

    def report(self) -> dict[str, Any]:
        """What happened since the last report."""
        now, cpu = time.monotonic(), cpu_s()
        seconds = now - self._marked_at
        found = {
            "publishers": len(self.publishers),
            "alive": sum(each.alive for each in self.publishers),
            "seconds": seconds,
            "bytes": self.sent_bytes,
            "mbit_per_s": self.sent_bytes * 8 / 1e6 / seconds,
            "tags": self.sent_tags,
            "stalls": self.stalls,
            "late_ms_max": self.late_s_max * 1000,
            "load_cpu_percent": (cpu - self._marked_cpu_s) * 100 / seconds,
        }
        self._marked_at, self._marked_cpu_s = now, cpu
        self.sent_bytes = self.sent_tags = self.stalls = 0
        self.late_s_max = 0.0
        return found


def main() -> None:
    """Read the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--url", required=True, help="rtmp://host:port/app/stream-{n}[?vhost=domain&auth_key=...], or flv://host:port"
    )
    parser.add_argument("--count", type=int, default=1, help=f"publishers, 1 to {COUNT_MAX}")
    parser.add_argument(
        "--tick-ms", type=float, default=0, help="all write what is due at common ticks (default: each tag at its own time)"
    )
    parser.add_argument("--hd", action="store_true", help="send 1280x720 with large key frames, at the same rate")
    parser.add_argument("--seconds", type=float, default=60, help="end after so long")
    parser.add_argument("--every", type=float, default=5, help="seconds between reports")
    parser.add_argument("--follow", action="store_true", help="report at each line on standard input, end with it")
    args = parser.parse_args()
    if not 1 <= args.count <= COUNT_MAX:
        parser.error(f"--count: 1 to {COUNT_MAX}")
    raise_file_limit()
    if args.hd:
        clip.WIDTH, clip.HEIGHT, clip.STILL = 1280, 720, True
    try:
        publishers = Publishers(args.url, args.count, args.tick_ms)
    except (OSError, rtmp.RtmpError) as error:
        say({"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from error
    say({"publishing": args.count})
    publishers.run(Orders(follow=args.follow, every_s=args.every, seconds=args.seconds))


if __name__ == "__main__":
    main()
