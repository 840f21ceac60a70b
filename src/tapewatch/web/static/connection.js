// Keeps the live stream open, notices when it is silent, and starts again from a snapshot.

const SILENCE_MS = 3500;
const RETRY_MS = 1500;
const CHECK_MS = 250;

/**
 * Calls `onPicture(picture)` with the whole picture whenever it changes, and `onLink(lostSince)`
 * with null while connected or with the moment (ms since 1970) of the last word from the daemon.
 */
export class Connection {
  constructor(address, { onPicture, onLink }) {
    this.address = address;
    this.onPicture = onPicture;
    this.onLink = onLink;
    this.picture = null;
    this.sequence = null;
    this.heardAt = performance.now();
    this.heardWall = Date.now();
    this.lost = null;
    this.retryAt = 0;
    this.open();
    setInterval(() => this.check(), CHECK_MS);
    addEventListener("online", () => this.restart());
  }

  open() {
    this.source?.close();
    this.source = new EventSource(this.address);
    this.sequence = null;
    this.source.addEventListener("snapshot", (event) => this.onSnapshot(JSON.parse(event.data)));
    this.source.addEventListener("update", (event) => this.onUpdate(JSON.parse(event.data)));
  }

  restart() {
    this.retryAt = performance.now() + RETRY_MS;
    this.open();
  }

  onSnapshot(message) {
    this.sequence = message.seq;
    this.picture = { ...message.live, may_change: message.may_change };
    this.heard();
  }

  onUpdate(message) {
    if (this.sequence === null || message.seq !== this.sequence + 1) {
      this.restart();
      return;
    }
    this.sequence = message.seq;
    const charts = joinCharts(this.picture, message.live);
    this.picture = { ...message.live, charts, may_change: this.picture.may_change };
    this.heard();
  }

  heard() {
    this.heardAt = performance.now();
    this.heardWall = Date.now();
    if (this.lost !== null) {
      this.lost = null;
      this.onLink(null);
    }
    this.onPicture(this.picture);
  }

  /** Milliseconds since the daemon was last heard. */
  get silence() {
    return performance.now() - this.heardAt;
  }

  check() {
    if (this.silence < SILENCE_MS) return;
    if (this.lost === null) this.lost = this.heardWall;
    this.onLink(this.lost);
    if (performance.now() >= this.retryAt) {
      this.restart();
      this.askWhy();
    }
  }

  /** A session that has ended shows as 401: the page then makes room for the login form. */
  async askWhy() {
    try {
      const answer = await fetch("/status", { method: "HEAD", cache: "no-store" });
      if (answer.status === 401) location.reload();
    } catch {
      // Unreachable: the banner says so already.
    }
  }
}

function joinCharts(old, fresh) {
  const from = fresh.now - fresh.window_seconds;
  const known = new Map(old.charts.map((chart) => [`${chart.engine}\n${chart.metric}`, chart]));
  return fresh.charts.map((tail) => {
    const head = known.get(`${tail.engine}\n${tail.metric}`);
    if (!head) return tail;
    const cut = tail.times.length ? tail.times[0] : Infinity;
    const times = [];
    const values = [];
    head.times.forEach((time, i) => {
      if (time >= from && time < cut) {
        times.push(time);
        values.push(head.values[i]);
      }
    });
    return { ...tail, times: times.concat(tail.times), values: values.concat(tail.values) };
  });
}
