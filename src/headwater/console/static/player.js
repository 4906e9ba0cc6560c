// Plays one URL: FLV over HTTP or WebSocket with mpegts.js, HLS with hls.js or, where the browser can, by itself.

const element = (id) => document.getElementById(id);
const video = element("video");
let stop = () => {};

function say(text, bad = false) {
  element("state").textContent = text;
  element("state").classList.toggle("bad", bad);
}

function playFlv(url) {
  if (!mpegts.isSupported()) return say("This browser cannot play FLV: it has no Media Source Extensions.", true);
  const player = mpegts.createPlayer(
    { type: "flv", isLive: true, url, cors: true },
    { enableStashBuffer: false, liveBufferLatencyChasing: true },
  );
  player.on(mpegts.Events.ERROR, (type, detail, info) => {
    const refused = info && info.code >= 400;
    say(refused ? `The server refused: HTTP ${info.code} ${info.msg ?? ""}`.trim() : `Playing failed: ${detail}.`, true);
  });
  player.on(mpegts.Events.LOADING_COMPLETE, () => say("The stream has ended."));
  player.attachMediaElement(video);
  player.load();
  stop = () => player.destroy();
}

function playHls(url) {
  if (!Hls.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) return say("This browser cannot play HLS.", true);
    video.src = url;
    stop = () => video.removeAttribute("src");
    return;
  }
  const player = new Hls({ liveDurationInfinity: true });
  player.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    const code = data.response && data.response.code;
    say(code ? `The server refused: HTTP ${code}` : `Playing failed: ${data.details}.`, true);
  });
  player.loadSource(url);
  player.attachMedia(video);
  stop = () => player.destroy();
}

function play(url) {
  stop();
  stop = () => {};
  say("Connecting…");
  let path;
  try {
    path = new URL(url).pathname;
  } catch {
    return say("This is not a URL.", true);
  }
  if (path.endsWith(".flv")) playFlv(url);
  else if (path.endsWith(".m3u8")) playHls(url);
  else return say("The address must end in .flv or .m3u8 (before the question mark).", true);
  video.play().catch(() => {});
}

function show() {
  const quality = video.getVideoPlaybackQuality();
  const ranges = video.buffered;
  const ahead = ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : 0;
  element("picture").textContent = video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : "–";
  element("played").textContent = `${video.currentTime.toFixed(1)} s`;
  element("buffered").textContent = `${Math.max(ahead, 0).toFixed(1)} s`;
  element("dropped").textContent = `${quality.droppedVideoFrames} of ${quality.totalVideoFrames}`;
}

video.addEventListener("playing", () => say("Playing."));
video.addEventListener("waiting", () => say("Waiting for data…"));
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  play(element("url").value.trim());
});
setInterval(show, 500);

const asked = new URLSearchParams(location.search).get("url");
if (asked) {
  element("url").value = asked;
  play(asked);
}
