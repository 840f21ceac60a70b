// One card per engine: is it alive, and how is it trading?

import { byId, el, KeyedList, setState, setText, setTitle } from "./dom.js";
import { number, rate, signedMoney, span, words } from "./format.js";

const GOOD = new Set(["running"]);
const QUIET = new Set(["stopped"]);

const tone = (state) => (GOOD.has(state) ? "good" : QUIET.has(state) ? "quiet" : state === "unknown" ? "unknown" : "bad");

export class Engines {
  constructor() {
    this.list = new KeyedList(byId("engines"), keyOf, card);
  }

  update(picture) {
    this.engines = picture.engines;
    byId("engines-none").hidden = picture.engines.length > 0;
    this.list.update(picture.engines);
  }

  /** Let the age of the last tick grow between pictures. */
  tick(sincePicture) {
    for (const engine of this.engines ?? []) {
      this.list.parts.get(keyOf(engine))?.tick(sincePicture);
    }
  }
}

const keyOf = (engine) => `${engine.name}\n${engine.instance ?? ""}`;

function card(first) {
  const name = el("h3", "", first.name, first.instance ? el("small", "", ` ${first.instance}`) : "");
  const state = el("span", "engine-state");
  const reason = el("p", "engine-reason");
  const pnl = el("span", "pnl");
  const pnlLabel = el("span", "pnl-label");
  const facts = el("dl");
  const fact = (label) => {
    const value = el("dd");
    facts.append(el("div", "", el("dt", "", label), value));
    return value;
  };
  const equity = fact("Equity");
  const positions = fact("Positions");
  const tickRate = fact("Tick rate");
  const age = fact("Last tick");
  const ticks = fact("Ticks");
  const lost = fact("Lost");
  const element = el(
    "article",
    "card",
    el("div", "card-head", name, state),
    el("div", "pnl-line", pnlLabel, pnl),
    facts,
    reason,
  );
  let current = first;
  return {
    element,
    update: (engine) => {
      current = engine;
      const mood = tone(engine.state);
      setState(element, mood);
      setText(state, words(engine.state));
      setState(state, mood);
      setText(reason, String(engine.reason ?? ""));
      reason.hidden = !engine.reason;
      const sign = engine.daily_pnl > 0 ? "up" : engine.daily_pnl < 0 ? "down" : "flat";
      setText(pnl, signedMoney(engine.daily_pnl));
      setText(pnlLabel, engine.currency ? `Daily P&L, ${engine.currency}` : "Daily P&L");
      setState(pnl, sign);
      setText(equity, number(engine.equity, engine.equity >= 10_000 ? 0 : 2));
      setText(positions, number(engine.positions, 0));
      setText(tickRate, rate(engine.tick_rate));
      setText(ticks, number(engine.ticks, 0));
      setText(lost, number(engine.lost ?? 0, 0));
      setState(lost, engine.lost ? "bad" : "good");
      setTitle(name, engine.pid ? `pid ${engine.pid}` : "");
    },
    tick: (elapsed) => {
      const seconds = current.last_tick_age_seconds;
      const alive = current.state === "running";
      // Between two pictures a running engine's age is what was measured; it grows with silence.
      const shown = seconds === null ? null : seconds + (alive && elapsed < 1.5 ? 0 : elapsed);
      setText(age, shown === null ? "never" : `${span(shown)} ago`);
    },
  };
}
