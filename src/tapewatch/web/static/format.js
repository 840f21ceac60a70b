// Numbers, money and times as people read them. What is not known is a dash, never a zero.

const NOTHING = "–";
const MINUS = "−";

const known = (value) => typeof value === "number" && Number.isFinite(value);

export function number(value, digits = 2) {
  if (!known(value)) return NOTHING;
  const whole = Number.isInteger(value);
  const text = Math.abs(value).toLocaleString("en-US", {
    minimumFractionDigits: 0,
    maximumFractionDigits: whole ? 0 : digits,
  });
  return (value < 0 ? MINUS : "") + text;
}

export function money(value) {
  if (!known(value)) return NOTHING;
  const text = Math.abs(value).toLocaleString("en-US", {
    minimumFractionDigits: 2,
    maximumFractionDigits: 2,
  });
  return (value < 0 ? MINUS : "") + text;
}

export function signedMoney(value) {
  const text = money(value);
  return known(value) && value > 0 ? `+${text}` : text;
}

export function rate(value) {
  if (!known(value)) return NOTHING;
  if (value >= 1000) return `${number(value / 1000, 1)}k/s`;
  return `${number(value, value < 10 ? 1 : 0)}/s`;
}

/** A length of time, as exact as a glance needs. */
export function span(seconds) {
  if (!known(seconds)) return NOTHING;
  const s = Math.max(0, seconds);
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 10) return `${minutes} min ${Math.floor(s % 60)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function milliseconds(value) {
  if (!known(value)) return NOTHING;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 10_000) return `${Math.round(value)} ms`;
  return span(value / 1000);
}

/** Unix seconds of an ISO text, or null. */
export function moment(iso) {
  if (typeof iso !== "string") return null;
  const parsed = Date.parse(iso);
  return Number.isNaN(parsed) ? null : parsed / 1000;
}

/** The time of day; with the date when it was another day. */
export function clock(unixSeconds) {
  if (!known(unixSeconds)) return NOTHING;
  const date = new Date(unixSeconds * 1000);
  const time = date.toLocaleTimeString("en-GB");
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

export function iso(unixSeconds) {
  return known(unixSeconds) ? new Date(unixSeconds * 1000).toISOString() : "";
}

export function words(identifier) {
  return String(identifier ?? "").replaceAll("_", " ");
}
