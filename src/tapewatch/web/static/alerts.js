// What is firing and who has it; what has ended; and taking an alert.

import { byId, el, KeyedList, safeLink, setState, setText, setTitle } from "./dom.js";
import { clock, iso, milliseconds, moment, number, span, words } from "./format.js";
import { severityName } from "./chart.js";

const ICONS = { info: "i", warning: "!", critical: "✕", emergency: "‼" };
const NAME_KEY = "tapewatch.by";

function severityBadge(alert) {
  const name = severityName(alert);
  const icon = el("span", "icon", ICONS[name]);
  icon.setAttribute("aria-hidden", "true");
  const badge = el("span", "severity", icon, name);
  setState(badge, name);
  return badge;
}

function runbookLink(alert) {
  const address = safeLink(alert.annotations?.runbook_url);
  if (!address) return null;
  const link = el("a", "runbook", "Runbook");
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

const engineOf = (alert) => String(alert.labels?.engine ?? alert.engine ?? "–");

export class ActiveAlerts {
  constructor() {
    this.list = new KeyedList(
      byId("alerts-body"),
      (alert) => alert.id,
      (alert) => this.row(alert),
    );
    this.alerts = [];
    this.dialog = new TakeDialog();
  }

  update(picture) {
    this.alerts = picture.active_alerts;
    this.dialog.mayChange = Boolean(picture.may_change);
    this.list.update(this.alerts);
    const count = this.alerts.length;
    byId("alerts-table").hidden = count === 0;
    byId("alerts-none").hidden = count > 0;
    const calm = picture.overall === "unknown" ? "No alert fires, but not all is known." : "Nothing is firing.";
    setText(byId("alerts-none-text"), calm);
    const taken = this.alerts.filter((alert) => alert.acknowledged).length;
    setText(byId("alerts-count"), count ? `${count} active, ${taken} taken` : "");
  }

  /** Move the relative times on between pictures. */
  tick(nowSeconds) {
    for (const alert of this.alerts) {
      this.list.parts.get(alert.id)?.tick(nowSeconds);
    }
  }

  row(first) {
    const cell = (label, ...children) => {
      const td = el("td", "", ...children);
      td.dataset.label = label;
      return td;
    };
    const rule = el("strong");
    const message = el("span", "message");
    const engine = el("span");
    const ago = el("span");
    const at = el("span", "sub");
    const value = el("span");
    const state = el("span", "alert-state");
    const taken = el("span", "sub");
    const take = el("button", "take", "Take it");
    take.type = "button";
    const actions = cell("", take);
    const runbook = runbookLink(first);
    if (runbook) actions.append(runbook);
    actions.className = "actions";
    const severity = cell("Severity", severityBadge(first));
    const element = el(
      "tr",
      "",
      severity,
      cell("Alert", rule, message),
      cell("Engine", engine),
      cell("Since", ago, at),
      cell("Value", value),
      cell("State", state, taken),
      actions,
    );
    element.children[3].classList.add("since");
    element.children[4].classList.add("number");
    let current = first;
    let shownSeverity = severityName(first);
    take.addEventListener("click", () => this.dialog.open(current));
    const since = () => moment(current.fired_at ?? current.started_at);
    return {
      element,
      update: (alert) => {
        current = alert;
        const name = severityName(alert);
        setState(element, name);
        if (name !== shownSeverity) {
          severity.replaceChildren(severityBadge(alert));
          shownSeverity = name;
        }
        setText(rule, String(alert.rule ?? ""));
        setText(message, String(alert.message ?? ""));
        setText(engine, engineOf(alert));
        setText(at, clock(since()));
        setTitle(at, iso(since()));
        setText(value, number(alert.value));
        setText(state, words(alert.state));
        setState(state, String(alert.state ?? ""));
        setText(taken, holder(alert));
        take.hidden = Boolean(alert.acknowledged);
      },
      tick: (now) => {
        const seconds = now - (since() ?? now);
        setText(ago, seconds < 1 ? "just now" : span(seconds));
      },
    };
  }
}

function holder(alert) {
  if (!alert.acknowledged) return "nobody has it";
  const { by, note } = alert.acknowledgement ?? {};
  return (by ? `taken by ${by}` : "taken") + (note ? `: ${note}` : "");
}

export class History {
  constructor() {
    this.list = new KeyedList(byId("history"), (alert) => alert.id, historyRow);
  }

  update(picture) {
    byId("history-none").hidden = picture.recent_alerts.length > 0;
    this.list.update(picture.recent_alerts);
  }
}

function historyRow(first) {
  const when = el("time", "when");
  const rule = el("strong");
  const detail = el("span", "sub");
  const told = el("span", "told");
  const element = el(
    "li",
    "",
    severityBadge(first),
    el("div", "what", rule, detail),
    el("div", "end", when, told),
  );
  return {
    element,
    update: (alert) => {
      const ended = moment(alert.resolved_at);
      const began = moment(alert.fired_at ?? alert.started_at);
      setText(rule, String(alert.rule ?? ""));
      const lasted = ended !== null && began !== null ? `lasted ${span(ended - began)}` : "";
      setText(detail, [engineOf(alert), lasted, words(alert.reason)].filter(Boolean).join(" · "));
      setText(when, clock(ended));
      setTitle(when, iso(ended));
      const known = typeof alert.told_ms === "number";
      setText(told, known ? `told in ${milliseconds(alert.told_ms)}` : "");
    },
  };
}

/** Asks who takes an alert, or says how to when this page may only look. */
class TakeDialog {
  constructor() {
    this.mayChange = false;
    this.alert = null;
    this.dialog = byId("take");
    byId("take-cancel").addEventListener("click", () => this.dialog.close());
    byId("take-form").addEventListener("submit", (event) => this.submit(event));
  }

  open(alert) {
    this.alert = alert;
    setText(byId("take-what"), `${alert.rule}: ${alert.message ?? ""}`);
    byId("take-fields").hidden = !this.mayChange;
    byId("take-submit").hidden = !this.mayChange;
    byId("take-readonly").hidden = this.mayChange;
    byId("take-by").disabled = !this.mayChange;
    setText(byId("take-command"), `tapewatch ack ${alert.id}`);
    setText(byId("take-error"), "");
    byId("take-by").value = remembered();
    byId("take-note").value = "";
    this.dialog.showModal();
  }

  async submit(event) {
    event.preventDefault();
    const by = byId("take-by").value.trim();
    const note = byId("take-note").value;
    remember(by);
    const button = byId("take-submit");
    button.disabled = true;
    try {
      const ref = encodeURIComponent(this.alert.id);
      const answer = await fetch(`/api/tapewatch/alerts/${ref}/acknowledge`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Tapewatch": "1" },
        body: JSON.stringify({ by, note }),
      });
      if (answer.ok) {
        this.dialog.close();
        return;
      }
      const { error } = await answer.json();
      setText(byId("take-error"), `${error.message}. ${error.next_step}`);
    } catch {
      setText(byId("take-error"), "The daemon did not answer: the alert is not taken.");
    } finally {
      button.disabled = false;
    }
  }
}

function remembered() {
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}
