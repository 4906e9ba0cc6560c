// Plays one URL: FLV over HTTP or WebSocket with mpegts.js, HLS with hls.js or, where the browser can, by itself.

const element = (id) => document.getElementById(id);
const video = element("video");
let stop = () => {};
let over = false; // what was said last is the end of it: late events of the video must not hide it

function say(text, bad = false) {
  over = over || bad;
  element("state").textContent = text;
  element("state").classList.toggle("bad", bad);
}

function refused(code) {
  const reasons = {
    403: "the signature is missing, wrong or expired, or the domain or the stream is stopped",
    404: "there is no such stream or domain at the moment",
    503: "it is too busy",
  };
  return `The server refused (HTTP ${code})${reasons[code] ? `: ${reasons[code]}` : ""}.`;
}

function playFlv(url) {
  if (!mpegts.isSupported()) return say("This browser cannot play FLV: it has no Media Source Extensions.", true);
  const player = mpegts.createPlayer(
    { type: "flv", isLive: true, url, cors: true },
    { enableStashBuffer: false, liveBufferLatencyChasing: true },
  );
  let received = false;
  player.on(mpegts.Events.MEDIA_INFO, () => (received = true));
  player.on(mpegts.Events.ERROR, (type, detail, info) => {
    if (info && info.code >= 400) say(refused(info.code), true);
    else if (type === mpegts.ErrorTypes.NETWORK_ERROR) say("The server cannot be reached, or the connection broke.", true);
    else say(`This browser cannot play the stream (${detail}).`, true);
  });
  player.on(mpegts.Events.LOADING_COMPLETE, () => {
    over = true;
    if (received) say("The stream has ended.");
    else say("The connection was closed before any media came: the URL is not valid, or the stream is not on air.", true);
  });
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
    if (code >= 400) say(refused(code), true);
    else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) say("The server cannot be reached, or the connection broke.", true);
    else say(`This browser cannot play the stream (${data.details}).`, true);
  });
  player.loadSource(url);
  player.attachMedia(video);
  stop = () => player.destroy();
}

function play(url) {
  stop();
  stop = () => {};
  over = false;
  say("Connecting…");
  let path;
  try {
    path = new URL(url).pathname;
  } catch {
    return say("This is not a URL.", true);
  }
  if (path.endsWith(".flv")) playFlv(url);
  else if (path.endsWith(".m3u8")) playHls(url);
  else return say("The path of the URL must end in .flv or .m3u8.", true);
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
video.addEventListener("waiting", () => over || say("Waiting for data…"));
element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  play(element("url").value.trim());
});
setInterval(show, 500);

document.body.classList.toggle("embedded", new URLSearchParams(location.search).has("embedded")); // in a page of the console

const asked = new URLSearchParams(location.search).get("url");
if (asked) {
  element("url").value = asked;
  play(asked);
}
