// The P&L chart: one line per engine, with a mark where an alert began to fire.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { byId, el, setText } from "./dom.js";
import { clock, moment, money, signedMoney, span } from "./format.js";

const LINES = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const MARK_REACH_PX = 8;
const HEIGHT = 260;
const SHORTEST_WINDOW_S = 30;

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class PnlChart {
  constructor() {
    this.host = byId("plot");
    this.caption = byId("chart-caption");
    this.plot = null;
    this.shape = "";
    this.marks = [];
    this.window = null;
    const redo = () => this.rebuild();
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", redo);
    new ResizeObserver(() => this.resize()).observe(this.host);
  }

  update(picture) {
    this.picture = picture;
    const charts = picture.charts.filter((chart) => chart.times.length > 0);
    byId("chart-none").hidden = charts.length > 0;
    this.host.hidden = charts.length === 0;
    this.caption.hidden = charts.length === 0;
    byId("legend").hidden = charts.length === 0;
    if (!charts.length) return;
    this.window = windowOf(picture, charts);
    this.marks = marksOf(picture);
    const data = uPlot.join(charts.map((chart) => [chart.times, chart.values]));
    const shape = JSON.stringify(charts.map((chart) => [chart.engine, chart.metric]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.charts = charts;
      this.build(data);
    } else {
      this.charts = charts;
      this.plot.setData(data);
    }
    this.describe();
  }

  rebuild() {
    if (!this.picture) return;
    this.shape = "";
    this.update(this.picture);
  }

  resize() {
    const width = this.host.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) {
      this.plot.setSize({ width, height: HEIGHT });
    }
  }

  build(data) {
    this.plot?.destroy();
    const axis = {
      stroke: color("--muted"),
      grid: { stroke: color("--grid"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const options = {
      width: this.host.clientWidth || 600,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { range: () => this.window },
        y: { range: (_plot, low, high) => roomy(low, high) },
      },
      series: [
        {},
        ...this.charts.map((_chart, i) => ({
          stroke: color(LINES[i % LINES.length]),
          width: 2,
          points: { show: false },
          fill: this.charts.length === 1 ? color("--line-1-fill") : undefined,
          fillTo: 0,
        })),
      ],
      axes: [
        { ...axis, values: (_plot, splits) => splits.map(shortClock), space: 80, size: 30 },
        { ...axis, values: (_plot, splits) => splits.map(shortMoney), size: 64 },
      ],
      hooks: {
        draw: [(plot) => this.drawZero(plot), (plot) => this.drawMarks(plot)],
        setCursor: [() => this.describe()],
      },
    };
    this.plot = new uPlot(options, data, this.host);
    byId("legend").replaceChildren(
      ...this.charts.map((chart, i) => {
        const key = el("span", "key");
        const swatch = el("span", `swatch line-${(i % LINES.length) + 1}`);
        key.append(swatch, chart.engine, el("b"));
        return key;
      }),
    );
  }

  drawZero(plot) {
    const { ctx, bbox } = plot;
    const y = Math.round(plot.valToPos(0, "y", true));
    if (y < bbox.top || y > bbox.top + bbox.height) return;
    ctx.save();
    ctx.strokeStyle = color("--zero");
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  drawMarks(plot) {
    const { ctx, bbox } = plot;
    const size = 5 * devicePixelRatio;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    for (const mark of this.marks) {
      if (mark.at < this.window[0] || mark.at > this.window[1]) continue;
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      ctx.strokeStyle = ctx.fillStyle = color(`--${mark.severity}`);
      ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.globalAlpha = mark.over ? 0.45 : 0.9;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + size);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.6 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  /** Put the values under the cursor (or the newest) into the legend, and name a mark near it. */
  describe() {
    if (!this.plot) return;
    const { idx, left } = this.plot.cursor;
    const hovering = left >= 0 && idx !== null && idx !== undefined;
    const keys = byId("legend").children;
    this.charts.forEach((chart, i) => {
      const column = this.plot.data[i + 1] ?? [];
      const value = hovering ? nearestBefore(column, idx) : last(chart.values);
      if (keys[i]) setText(keys[i].lastElementChild, signedMoney(value));
    });
    const near = hovering
      ? this.marks.filter(
          (mark) => Math.abs(this.plot.valToPos(mark.at, "x") - left) <= MARK_REACH_PX,
        )
      : [];
    if (near.length) {
      setText(this.caption, near.map((m) => `${clock(m.at)} ${m.word} ${m.rule}`).join(" · "));
    } else if (hovering) {
      setText(this.caption, clock(this.plot.data[0][idx]));
    } else {
      setText(this.caption, summary(this.picture, this.marks, this.window));
    }
    const label = this.charts.map((c) => `${c.engine} ${money(last(c.values))}`).join(", ");
    this.host.setAttribute("aria-label", `Daily profit and loss now: ${label}`);
    this.host.setAttribute("role", "img");
  }
}

/** The whole window, or what there is of it yet: a young engine's line fills the chart too. */
function windowOf(picture, charts) {
  const first = Math.min(...charts.map((chart) => chart.times[0]));
  const length = Math.max(picture.now - first, SHORTEST_WINDOW_S);
  return [picture.now - Math.min(length, picture.window_seconds), picture.now];
}

function marksOf(picture) {
  const mark = (alert, over) => ({
    at: moment(alert.fired_at ?? alert.started_at),
    severity: severityName(alert),
    word: String(alert.severity ?? ""),
    rule: String(alert.rule ?? ""),
    over,
  });
  return [
    ...picture.recent_alerts.map((alert) => mark(alert, true)),
    ...picture.active_alerts.map((alert) => mark(alert, false)),
  ].filter((each) => each.at !== null);
}

const SEVERITIES = new Set(["info", "warning", "critical", "emergency"]);

export function severityName(alert) {
  const name = String(alert.severity ?? "").toLowerCase();
  return SEVERITIES.has(name) ? name : "warning";
}

function summary(picture, marks, window) {
  const shown = marks.filter((mark) => mark.at >= window[0]).length;
  const alerts = shown === 1 ? "1 alert" : `${shown} alerts`;
  return `The last ${span(Math.round(window[1] - window[0]))}${shown ? `, with ${alerts} marked` : ""}`;
}

function roomy(low, high) {
  if (low === null || high === null) return [-1, 1];
  const size = Math.max(high - low, Math.abs(high) * 0.02, 1);
  return [Math.min(low - size * 0.12, 0), Math.max(high + size * 0.18, 0)];
}

function nearestBefore(column, index) {
  for (let i = index; i >= 0; i--) if (column[i] !== undefined) return column[i];
  return null;
}

function last(values) {
  return values.length ? values[values.length - 1] : null;
}

function shortClock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

function shortMoney(value) {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (size >= 1e6) return `${sign}${+(size / 1e6).toFixed(2)}M`;
  if (size >= 1e4) return `${sign}${+(size / 1e3).toFixed(1)}k`;
  return sign + size.toLocaleString("en-US", { maximumFractionDigits: 2 });
}
