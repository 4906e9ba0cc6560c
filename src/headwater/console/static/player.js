// Plays one URL: FLV over HTTP or WebSocket with mpegts.js, HLS with hls.js or, where the browser can, by itself.

const element = (id) => document.getElementById(id);
const video = element("video");
let stop = () => {};
let over = false; // what was said last is the end of it: late events of the video must not hide it

// The page has every text in its reader's language, as data of the line that shows them.
function text(name, ...values) {
  return values.reduce((filled, value) => filled.replace("%s", () => value), element("state").dataset[name]);
}

function say(text, bad = false) {
  over = over || bad;
  element("state").textContent = text;
  element("state").classList.toggle("bad", bad);
}

function refused(code) {
  return text(`refused-${code}` in element("state").dataset ? `refused-${code}` : "refused", code);
}

function playFlv(url) {
  if (!mpegts.isSupported()) return say(text("noFlv"), true);
  const player = mpegts.createPlayer(
    { type: "flv", isLive: true, url, cors: true },
    { enableStashBuffer: false, liveBufferLatencyChasing: true },
  );
  let received = false;
  player.on(mpegts.Events.MEDIA_INFO, () => (received = true));
  player.on(mpegts.Events.ERROR, (type, detail, info) => {
    if (info && info.code >= 400) say(refused(info.code), true);
    else if (type === mpegts.ErrorTypes.NETWORK_ERROR) say(text("unreachable"), true);
    else say(text("unplayable", detail), true);
  });
  player.on(mpegts.Events.LOADING_COMPLETE, () => {
    over = true;
    if (received) say(text("ended"));
    else say(text("closed"), true);
  });
  player.attachMediaElement(video);
  player.load();
  stop = () => player.destroy();
}

function playHls(url) {
  if (!Hls.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) return say(text("noHls"), true);
    video.src = url;
    stop = () => video.removeAttribute("src");
    return;
  }
  const player = new Hls({ liveDurationInfinity: true });
  player.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    const code = data.response && data.response.code;
    if (code >= 400) say(refused(code), true);
    else if (data.type === Hls.ErrorTypes.NETWORK_ERROR) say(text("unreachable"), true);
    else say(text("unplayable", data.details), true);
  });
  player.loadSource(url);
  player.attachMedia(video);
  stop = () => player.destroy();
}

function play(url) {
  stop();
  stop = () => {};
  over = false;
  say(text("connecting"));
  let path;
  try {
    path = new URL(url).pathname;
  } catch {
    return say(text("noUrl"), true);
  }
  if (path.endsWith(".flv")) playFlv(url);
  else if (path.endsWith(".m3u8")) playHls(url);
  else return say(text("otherPath"), true);
  video.play().catch(() => {});
}

function show() {
  const quality = video.getVideoPlaybackQuality();
  const ranges = video.buffered;
  const ahead = ranges.length ? ranges.end(ranges.length - 1) - video.currentTime : 0;
  element("picture").textContent = video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : "–";
  element("played").textContent = `${video.currentTime.toFixed(1)} s`;
  element("buffered").textContent = `${Math.max(ahead, 0).toFixed(1)} s`;
  element("dropped").textContent = text("dropped", quality.droppedVideoFrames, quality.totalVideoFrames);
}

video.addEventListener("playing", () => say(text("playing")));
video.addEventListener("waiting", () => over || say(text("waiting")));
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
