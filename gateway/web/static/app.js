// The status page: asks our own API every few seconds and shows the answers as they are.
const EVERY = 2000, PATIENCE = 5000, MOST_DEVICES = 500;
const ICONS = { EXCELLENT: "✔", GOOD: "◉", WARNING: "▲", CRITICAL: "⬣", FAILED: "☒", UNKNOWN: "◌" };
const at = (id) => document.getElementById(id);
let heard = null;

// Text only, never HTML: device names and values come from strangers.
function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}
const number = (n) => (typeof n === "number" ? n.toLocaleString() : "-");
const time = (ms) => (ms ? new Date(ms).toLocaleTimeString() : "never");
const level = (name) => ICONS[name] + " " + name;
function duration(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]])
    if (seconds >= size) return (seconds / size).toFixed(1) + " " + unit;
  return Math.round(seconds) + " s";
}
const value = (v) => (typeof v === "number" ? String(Math.round(v * 1000) / 1000) : String(v));

// cells: [text, class] or text
function table(id, heads, rows) {
  const head = element("tr", "");
  head.append(...heads.map((h) => element("th", h)));
  const body = rows.map((cells) => {
    const row = element("tr", "");
    row.append(...cells.map((c) => (Array.isArray(c) ? element("td", c[0], c[1]) : element("td", c))));
    return row;
  });
  at(id).replaceChildren(head, ...body);
}

const dropped = (ledger) => Object.values(ledger.dropped || {}).reduce((a, b) => a + b, 0);
const difference = (n) => (n ? [n + " unexplained: a bug", "bad"] : ["0", ""]);

function showStatus(s) {
  const health = s.health;
  document.title = `${ICONS[health.level]} ${s.id}`;
  at("id").textContent = s.id;
  const levelText = `${level(health.level)} ${health.score}`;
  // Written only when it changes: screen readers announce each write to a live region.
  if (at("level").textContent !== levelText) {
    at("level").textContent = levelText;
    at("level").className = health.level;
  }
  at("reasons").textContent = s.ready ? "" : "Not ready: " + s.reasons.join("; ");
  const facts = [
    ["Version", s.version], ["Up", duration(s.uptime)], ["Devices", number(s.devices.count)],
    ["Journal", `${(s.journal.bytes / 1e6).toFixed(1)} MB in ${s.journal.segments} segment(s)`],
    ["Clock", s.clock && s.clock.synced === false ? "not set" : "set"],
  ];
  at("facts").replaceChildren(...facts.flatMap(([k, v]) => [element("dt", k), element("dd", v)]));
  table("health", ["Part", "Level", "Score"], Object.entries(health.components).map(
    ([name, part]) => [name, [level(part.level), part.level], number(part.score)]));
  table("sources", ["Source", "Received", "Journalled", "Repeated", "Dead letters", "Dropped", "In flight", "Difference"],
    Object.entries(s.ledger.sources).map(([name, l]) => [name, ...[l.received, l.journalled, l.repeated,
      l.dead_lettered, dropped(l), l.in_flight].map(number), difference(l.difference)]));
  const states = Object.fromEntries(s.bridges.map((b) => [b.name, b]));
  table("bridges", ["Bridge", "State", "Matched", "Delivered", "Pending", "Dead letters", "Dropped", "Difference", "Last error"],
    Object.entries(s.ledger.bridges).map(([name, l]) => {
      const bridge = states[name] || {};
      return [name, bridge.state || "-", ...[l.matched, l.delivered, l.pending, l.dead_lettered,
        dropped(l)].map(number), difference(l.difference), bridge.last_error || "-"];
    }));
}

function showDevices(devices) {
  const shown = devices.sort((a, b) => a.id.localeCompare(b.id)).slice(0, MOST_DEVICES);
  table("devices", ["Device", "Health", "Last seen", "Last values"], shown.map((d) => {
    const health = (d.health || {}).level || "UNKNOWN";
    const values = Object.entries((d.last || {}).values || {});
    return [d.id, [level(health), health], time(d.last_seen), values.map(([k, v]) => `${k} ${value(v)}`).join(" · ")];
  }));
  at("devices-title").textContent = devices.length > shown.length
    ? `Devices (${shown.length} of ${devices.length})` : "Devices";
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refresh() {
  try {
    const [status, devices] = await Promise.all([ask("/api/v1/status"), ask("/api/v1/devices")]);
    showStatus(status);
    showDevices(devices);
    heard = Date.now();
    if (at("live").textContent !== "● Live") at("live").textContent = "● Live";
    at("live").className = "";
  } catch (error) {
    at("live").textContent = heard ? `stale since ${time(heard)}` : `no answer (${error.message})`;
    at("live").className = "bad";
  }
  setTimeout(refresh, EVERY);
}
refresh();
