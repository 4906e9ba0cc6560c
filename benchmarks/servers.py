"""The servers to compare: Headwater, SRS, nginx and the bare send loop, each started afresh and pinned to one CPU."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

from benchmarks import clip, measure, rtmp
from benchmarks.load import HOME, STOP_S, end, pin, raise_file_limit

Profile = Literal["realtime", "standard"]
FLUSH_MS: dict[Profile, int] = {"realtime": 0, "standard": 350}

READY_S = 60.0
"""How long a server may take until it answers."""

LIFE_S = 1800
"""The send loops end by themselves after so long."""

CONNECTIONS_MAX = 20_000
BACKLOG = 4096
MEMORY = Path("/dev/shm")
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")


class Unavailable(Exception):
    """This server cannot run here; the message says what is missing."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Server(ABC):
    """A server that runs while its `with` block does.

    protocols: what viewers may use. takes: whether publishers may push to it. note: how it sends.
    """

    name: ClassVar[str]
    protocols: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[bool] = False

    def __init__(self, profile: Profile, cpu: int | None, spare_cpu: int | None = None) -> None:
        """cpu: where the server runs. spare_cpu: where what it needs beside it may run."""
        self.profile = profile
        self.cpu = cpu
        self.spare_cpu = spare_cpu
        self.rtmp_port, self.http_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path()
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Server:
        with contextlib.ExitStack() as stack:
            self._cleanup = stack
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-benchmark-")))
            stack.callback(self._stop)
            self._start()
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @abstractmethod
    def _start(self) -> None:
        """Start the program and wait until it answers. Raises Unavailable."""

    @property
    def pid(self) -> int:
        """The first process of the server."""
        assert self.process is not None
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """The processes that do the media work."""
        return [self.pid]

    def prepare(self) -> None:
        """Publishers are there, viewers are about to come. Raises Unavailable."""
        return

    def push_url(self) -> str:
        """Where publishers push; `{n}` is the number of the stream."""
        return f"rtmp://127.0.0.1:{self.rtmp_port}/live/bench-{{n}}"

    def play_url(self, protocol: str) -> str:
        """Where viewers play."""
        if protocol == "rtmp":
            return self.push_url()
        return f"http://127.0.0.1:{self.http_port}/live/bench-{{n}}.flv"

    def _run(self, command: Sequence[str], *, cwd: Path | None = None, output: int | None = None) -> None:
        log = (self.folder / "log").open("wb")
        with log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output or log,
                stderr=log,
                cwd=cwd or self.folder,
                preexec_fn=pin(self.cpu),
            )

    def _say(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""

    def _until(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + READY_S
        while not done():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > until:
                raise Unavailable(f"{self.name}: {what}\n{self._say()}")
            time.sleep(0.1)

    def _until_listens(self, port: int) -> None:
        def listens() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        self._until(listens, f"does not listen on port {port}")

    def _until_says(self, word: bytes) -> None:
        assert self.process is not None
        output = self.process.stdout
        assert output is not None
        os.set_blocking(output.fileno(), False)
        said = b""

        def ready() -> bool:
            nonlocal said
            if select.select([output], [], [], 0)[0]:
                said += output.read() or b""
            return word in said.split()

        self._until(ready, f"does not say `{word.decode()}`")

    def _stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        end(self.process)
        if self.process.stdout is not None:
            self.process.stdout.close()


class SendLoop(Server):
    """The bare loop in C."""

    name = "send_loop.c"
    protocols = ("flv",)
    takes = True

    def _start(self) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise Unavailable("send_loop.c: no C compiler (cc)")
        source, program = Path(__file__).with_name("send_loop.c"), clip.CACHE / "send_loop"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        flush_ms = FLUSH_MS[self.profile]
        self._run([str(program), str(self.http_port), str(flush_ms), str(LIFE_S)], output=subprocess.PIPE)
        self._until_says(b"ready")

    def push_url(self) -> str:
        """It takes FLV as it is."""
        return f"flv://127.0.0.1:{self.http_port}"


class NginxRtmp(Server):
    """Debian's nginx with its RTMP module: one worker, chunks of 4096; it sends each message by itself, and no HTTP-FLV."""

    name = "nginx-rtmp"
    protocols = ("rtmp",)
    takes = True

    def _start(self) -> None:
        if not NGINX_MODULE.exists():
            raise Unavailable("nginx-rtmp: not installed (Debian: libnginx-mod-rtmp)")
        (self.folder / "nginx.conf").write_text(
            "daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;\n"
            f"worker_rlimit_nofile {raise_file_limit()};\n"
            f"load_module {NGINX_MODULE};\n"
            f"events {{ worker_connections {CONNECTIONS_MAX}; }}\n"
            f"rtmp {{ access_log off; server {{ listen 127.0.0.1:{self.rtmp_port}; chunk_size {rtmp.CHUNK_BYTES};\n"
            "application live { live on; } } }\n"
        )
        self._run(_nginx(self.folder))
        self._until_listens(self.rtmp_port)

    @property
    def workers(self) -> list[int]:
        """nginx's worker process."""
        return _with_title(self.pid, "nginx: worker process")


class NginxHls(Server):
    """Debian's nginx with files in memory: the playlist and segments that a Headwater on the other CPU makes."""

    name = "nginx"
    protocols = ("hls",)
    takes = True

    def _start(self) -> None:
        self._origin = self._cleanup.enter_context(Headwater(self.profile, self.spare_cpu))
        self._files = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="headwater-", dir=MEMORY)))
        self._files.chmod(0o755)  # nginx's worker is another user
        (self._files / "live").mkdir()
        (self.folder / "nginx.conf").write_text(
            "daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;\n"
            f"worker_rlimit_nofile {raise_file_limit()};\n"
            f"events {{ worker_connections {CONNECTIONS_MAX}; }}\n"
            "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; keepalive_timeout 60;\n"
            "types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }\n"
            f"server {{ listen 127.0.0.1:{self.http_port} backlog={BACKLOG}; root {self._files}; }} }}\n"
        )
        self._run(_nginx(self.folder))
        self._until_listens(self.http_port)

    def prepare(self) -> None:
        """Begin to copy, and wait for the first playlist."""
        command = [
            sys.executable,
            "-m",
            "benchmarks.hls_copy",
            self._origin.play_url("hls").format(n=0),
            str(self._files / "live"),
        ]
        copier = subprocess.Popen(command, cwd=HOME, preexec_fn=pin(self.spare_cpu), stdin=subprocess.PIPE)
        self._cleanup.callback(end, copier)
        assert copier.stdin is not None
        self._cleanup.callback(copier.stdin.close)
        self._until(lambda: any((self._files / "live").glob("*.m3u8")), "has no playlist")

    @property
    def workers(self) -> list[int]:
        """nginx's worker process."""
        return _with_title(self.pid, "nginx: worker process")

    def push_url(self) -> str:
        """To the Headwater that makes the files."""
        return self._origin.push_url()

    def play_url(self, protocol: str) -> str:
        """The copied playlist."""
        return f"http://127.0.0.1:{self.http_port}/live/bench-{{n}}.m3u8"


class Srs(Server):
    """SRS, if the environment variable SRS_BIN names its program."""

    name = "SRS"
    protocols = ("flv", "rtmp")
    takes = True

    def _start(self) -> None:
        program = os.environ.get("SRS_BIN")
        if not program or not Path(program).exists():
            raise Unavailable("SRS: SRS_BIN does not name its program")
        realtime = self.profile == "realtime"
        (self.folder / "srs.conf").write_text(
            f"listen {self.rtmp_port}; daemon off; max_connections {CONNECTIONS_MAX // 2}; pid srs.pid;\n"
            f"srs_log_tank console; srs_log_level error; chunk_size {rtmp.CHUNK_BYTES};\n"
            f"http_server {{ enabled on; listen {self.http_port}; dir {self.folder}; }}\n"
            "vhost __defaultVhost__ {\n"
            f"  tcp_nodelay {'on' if realtime else 'off'}; min_latency {'on' if realtime else 'off'};\n"
            f"  play {{ mw_latency {FLUSH_MS[self.profile]}; }}\n"
            "  http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }\n"
            "}\n"
        )
        self._run([str(Path(program).resolve()), "-c", "srs.conf"])
        self._until_listens(self.rtmp_port)
        self._until_listens(self.http_port)


class Headwater(Server):
    """Headwater as `headwater up` starts it, with two domains that need no signature."""

    name = "Headwater"
    protocols = ("flv", "rtmp", "https-flv", "hls", "joins")
    takes = True
    worker_count: ClassVar[int] = 1
    settings: ClassVar[dict[str, str]] = {}
    session: ClassVar[dict[str, str]] = {}
    ingest, streaming = "push.bench.test", "play.bench.test"

    def _start(self) -> None:
        services = ("rtmp", "rtmps", "http", "https", "api", "console", "metrics")
        ports = {service: free_port() for service in services} | {"rtmp": self.rtmp_port, "http": self.http_port}
        self._ports = ports
        settings = {f"listen.{name}": f"127.0.0.1:{port}" for name, port in ports.items()}
        settings |= {"listen.dns": "", "workers": str(self.worker_count), **self.settings}
        flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        data = ["--data-dir", str(self.folder / "data")]
        self._run(
            [sys.executable, "-m", "headwater", "up", *data, *flags],
            output=subprocess.PIPE,
        )
        self._until_says(b"ready")
        made = subprocess.run(
            [sys.executable, "-m", "headwater", "account", "create", "bench", *data, "--json"],
            check=True,
            capture_output=True,
        )
        account = json.loads(made.stdout)
        self.api = api = Api(ports["api"], account["access_key_id"], account["access_key_secret"])
        for domain, kind in ((self.ingest, "liveEdge"), (self.streaming, "liveVideo")):
            api.call("AddLiveDomain", DomainName=domain, LiveDomainType=kind, Region="cn-shanghai")
        functions = [_function("aliauth", auth_type="no_auth"), _function("headwater_live", flush=self.profile, **self.session)]
        api.call("BatchSetLiveDomainConfigs", DomainNames=self.ingest, Functions=json.dumps(functions[:1]))
        api.call("BatchSetLiveDomainConfigs", DomainNames=self.streaming, Functions=json.dumps(functions))
        api.call("AddLiveDomainMapping", PushDomain=self.ingest, PullDomain=self.streaming)
        self._until(self._takes_a_push, "refuses a push")

    def _takes_a_push(self) -> bool:
        """Policies reach the worker within a second: try until it takes a stream."""
        try:
            connection = rtmp.Connection(self.push_url().replace("{n}", "probe"))
            with connection.socket:
                connection.publish()
        except (OSError, rtmp.RtmpError):
            return False
        return True

    @property
    def workers(self) -> list[int]:
        """Headwater's media workers."""
        return _with_title(self.pid, "headwater.node")

    def viewers_of_workers(self) -> list[float]:
        """How many viewers each worker has, by its own metrics."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._ports["metrics"], timeout=STOP_S)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        found: dict[str, float] = {}
        for worker, value in re.findall(r'^headwater_viewers\{[^}]*worker="(\d+)"[^}]*\} (\S+)$', text, re.MULTILINE):
            found[worker] = found.get(worker, 0.0) + float(value)
        return [found[worker] for worker in sorted(found)]

    def push_url(self) -> str:
        """Where publishers push, the ingest domain in the query."""
        return super().push_url() + f"?vhost={self.ingest}"

    def play_url(self, protocol: str) -> str:
        """Where viewers play, the streaming domain in the query."""
        base, suffix = {
            "rtmp": (f"rtmp://127.0.0.1:{self.rtmp_port}", ""),
            "hls": (f"http://127.0.0.1:{self.http_port}", ".m3u8"),
            "https-flv": (f"https://127.0.0.1:{self._ports['https']}", ".flv"),
        }.get(protocol, (f"http://127.0.0.1:{self.http_port}", ".flv"))
        return f"{base}/live/bench-{{n}}{suffix}?vhost={self.streaming}"


class TwoWorkers(Headwater):
    """The same with two workers, both on the one CPU: what sharing the work costs, not what two CPUs bring."""

    name = "Headwater, 2 workers"
    worker_count = 2


def _function(name: str, **args: str) -> dict[str, object]:
    listed = [{"argName": key, "argValue": value} for key, value in args.items()]
    return {"functionName": name, "functionArgs": listed}


def _with_title(pid: int, words: str) -> list[int]:
    found = [each for each in measure.tree(pid) if words in measure.title(each)]
    if not found:
        raise Unavailable(f"no process `{words}` below {pid}")
    return found


def _nginx(folder: Path) -> list[str]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Unavailable("nginx: not installed (Debian: nginx-light)")
    return [program, "-p", f"{folder}/", "-c", str(folder / "nginx.conf"), "-e", "stderr"]


class Api:
    """The ApsaraVideo Live API with the classic signature, HMAC-SHA1 (reference control-plane 1.3)."""

    def __init__(self, port: int, access_key_id: str, access_key_secret: str) -> None:
        self._port, self._id, self._secret = port, access_key_id, access_key_secret

    def call(self, action: str, **params: str) -> None:
        """Call one operation. Raises Unavailable with the service's answer if it refuses."""
        query = params | {
            "Action": action,
            "Version": "2016-11-01",
            "Format": "JSON",
            "AccessKeyId": self._id,
            "SignatureMethod": "HMAC-SHA1",
            "SignatureVersion": "1.0",
            "SignatureNonce": secrets.token_hex(16),
            "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        canonical = "&".join(f"{_escape(name)}={_escape(query[name])}" for name in sorted(query))
        digest = hmac.digest(f"{self._secret}&".encode(), f"POST&%2F&{_escape(canonical)}".encode(), hashlib.sha1)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=STOP_S)
        with contextlib.closing(connection):
            connection.request("POST", f"/?{canonical}&Signature={_escape(base64.b64encode(digest).decode())}")
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        if response.status != http.client.OK:
            raise Unavailable(f"{action}: HTTP {response.status} {body}")


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")


ALL: tuple[type[Server], ...] = (Headwater, SendLoop, Srs, NginxRtmp, NginxHls, TwoWorkers)
