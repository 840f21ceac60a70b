// The live page: one question, "Is everything all right?", answered from one stream.

import { ActiveAlerts, History } from "./alerts.js";
import { PnlChart } from "./chart.js";
import { Connection } from "./connection.js";
import { byId, el, KeyedList, setState, setText, setTitle } from "./dom.js";
import { Engines } from "./engines.js";
import { clock, milliseconds, moment, number, span, words } from "./format.js";

const TICK_MS = 200;

const alerts = new ActiveAlerts();
const history = new History();
const engines = new Engines();
const chart = new PnlChart();

const receivers = new KeyedList(byId("receivers"), (receiver) => receiver.name, receiverRow);
const faults = new KeyedList(byId("faults"), (fault) => `${fault.name}\n${fault.at}`, faultRow);

let picture = null;
let lostSince = null;

const connection = new Connection("/api/tapewatch/stream", {
  onPicture: (fresh) => {
    picture = fresh;
    show();
  },
  onLink: (since) => {
    lostSince = since;
    showLink();
  },
});

function show() {
  document.body.classList.remove("waiting");
  setText(byId("version"), picture.version);
  setText(byId("started"), `Watching since ${clock(moment(picture.started_at))}`);
  showOverall();
  alerts.update(picture);
  engines.update(picture);
  chart.update(picture);
  history.update(picture);
  byId("receivers-none").hidden = picture.receivers.length > 0;
  receivers.update(picture.receivers);
  showFaults(picture.faults ?? []);
  tick();
  const pulse = byId("pulse");
  pulse.classList.remove("beat");
  void pulse.offsetWidth; // restarts the animation
  pulse.classList.add("beat");
}

/** The state in one word. A page that hears nothing knows nothing, whatever it was told last. */
function overallNow() {
  if (lostSince !== null) return ["lost", "Unknown", "connection lost"];
  if (picture === null) return ["waiting", "Connecting", ""];
  const firing = picture.active_alerts.length;
  if (firing > 0) {
    const grave = picture.active_alerts.some((alert) => /^(CRITICAL|EMERGENCY)$/i.test(alert.severity));
    const worst = picture.active_alerts[0];
    return [grave ? "critical" : "warning", `${firing} firing`, worst.message ?? worst.rule];
  }
  if (picture.overall === "healthy") return ["good", "All right", picture.overall_reason];
  if (picture.overall === "unknown") return ["unknown", "Unknown", picture.overall_reason];
  const serious = picture.overall === "unhealthy" || picture.overall === "critical";
  return [serious ? "critical" : "warning", capitalised(words(picture.overall)), picture.overall_reason];
}

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function showOverall() {
  const [state, word, reason] = overallNow();
  setState(byId("overall"), state);
  setText(byId("overall-word"), word);
  setText(byId("overall-reason"), String(reason ?? ""));
  document.title = `${word} · Tapewatch`;
}

function showLink() {
  const lost = lostSince !== null;
  document.body.classList.toggle("stale", lost);
  byId("banner").hidden = !lost;
  if (lost) setText(byId("banner-text"), `Connection lost since ${clock(lostSince / 1000)}.`);
  showOverall();
}

function tick() {
  const silence = connection.silence / 1000;
  if (picture === null) {
    setText(byId("age"), "no data yet");
    return;
  }
  const age = silence < 1.5 ? "live" : `${span(silence)} old`;
  setText(byId("age"), lostSince === null ? age : `data ${span(silence)} old`);
  engines.tick(silence);
  alerts.tick(picture.now + silence);
}

setInterval(tick, TICK_MS);

function receiverRow() {
  const name = el("strong");
  const kind = el("span", "sub");
  const status = el("span", "receiver-state");
  const counts = el("span", "told");
  const element = el("li", "", el("div", "what", name, kind), el("div", "end", status, counts));
  return {
    element,
    update: (receiver) => {
      const good = receiver.status === "healthy";
      const idle = ["not_configured", "disabled", "unknown"].includes(receiver.status);
      setText(name, receiver.name);
      setText(kind, [receiver.kind, receiver.last_error].filter(Boolean).join(" · "));
      setText(status, words(receiver.status));
      const tone = receiver.status === "degraded" ? "warning" : "bad";
      setState(status, good ? "good" : idle ? "quiet" : tone);
      const parts = [`${number(receiver.accepted, 0)} told`];
      if (receiver.queued) parts.push(`${number(receiver.queued, 0)} waiting`);
      if (receiver.failed) parts.push(`${number(receiver.failed, 0)} failed`);
      setText(counts, parts.join(" · "));
    },
  };
}

function showFaults(list) {
  byId("faults-panel").hidden = list.length === 0;
  faults.update(list);
  const seen = list.filter((fault) => typeof fault.raised_ms === "number").length;
  setText(byId("faults-count"), `${seen} of ${list.length} raised`);
}

function faultRow() {
  const name = el("strong");
  const detail = el("span", "sub");
  const element = el("li", "", name, detail);
  return {
    element,
    update: (fault) => {
      const raised = typeof fault.raised_ms === "number";
      setState(element, raised ? "raised" : String(fault.state));
      setText(name, words(fault.name));
      setText(
        detail,
        raised
          ? `told in ${milliseconds(fault.raised_ms)}`
          : fault.state === "planned"
            ? `at ${clock(moment(fault.at))}`
            : words(fault.state),
      );
      setTitle(element, [fault.engine, fault.expected_rule].filter(Boolean).join(" → "));
    },
  };
}
