// Zoom and pan for the chart of a device. The server has already drawn it; uPlot takes over at the first use of the
// mouse, a finger or a button, and finer data comes from the API. Nothing jumps: the canvas is exactly where the drawing
// was. The address is updated, so that a reload shows the same.
"use strict";

(() => {
  const PIXELS_A_POINT = 2;
  const LEFT = 44, BOTTOM = 22, TOP = 8, RIGHT = 4;
  const EDGE = 24; // pixels from either end without time labels
  const SHORTEST = 10; // seconds of the narrowest view
  const STEP = 0.5; // share of the view that one press of a button moves

  const figure = document.querySelector("figure[data-chart]");
  const knows = (name) => {
    try {
      return Boolean(new Intl.DateTimeFormat("en-GB", name ? { timeZone: name } : {}));
    } catch {
      return false; // a browser with older zones than the server: the chart stays as the server has drawn it
    }
  };
  if (!figure || !window.uPlot || !knows(figure.dataset.zone)) return;
  const card = figure.closest("section");
  const tools = card.querySelector(".chart-tools");
  const problem = card.querySelector(".chart-problem");
  const csv = card.querySelector("a[data-csv]");
  const note = card.querySelector(".card-head .sub");
  const ranges = card.querySelectorAll(".seg a");
  const facts = card.querySelectorAll("dd[data-fact]");
  const { title, unit, zone } = figure.dataset;
  const decimals = figure.dataset.decimals === "" ? null : Number(figure.dataset.decimals);
  const whole = [Number(figure.dataset.from), Number(figure.dataset.to)];

  const own = window.location.href;
  const ownCsv = csv?.href;

  let view = whole.slice();
  let plot = null;
  let host = null;
  let asking = null;
  let gaps = [];

  const number = (value) => {
    if (value === null || value === undefined) return "";
    const text = decimals === null ? String(Number(value.toPrecision(6))) : value.toFixed(decimals);
    return text.replace("-", "\u2212");
  };
  const lasting = (seconds) => {
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Number((seconds / size).toPrecision(3))} ${name}`;
    }
    return `${seconds} s`;
  };
  const formats = {};
  const when = (seconds, options) => {
    const key = JSON.stringify(options);
    formats[key] ??= new Intl.DateTimeFormat("en-GB", { ...options, ...(zone ? { timeZone: zone } : {}) });
    return formats[key].format(new Date(seconds * 1000));
  };
  const moment = (seconds) => when(seconds, { dateStyle: "medium", timeStyle: "medium" });

  // Labels of the time axis, as the server writes them: times within a day, else days; none that the edge would cut off.
  const labels = (self, times) => times.map((at) => {
    const x = self.valToPos(at, "x");
    if (x < EDGE || x > self.over.clientWidth - EDGE) return "";
    const length = view[1] - view[0];
    if (length > 300 * 86400) return when(at, { month: "short", year: "numeric" });
    const midnight = when(at, { hour: "2-digit", minute: "2-digit", second: "2-digit" }) === "00:00:00";
    if (length > 10 * 86400 || (midnight && length > 2 * 86400)) return when(at, { day: "numeric", month: "short" });
    if (midnight) return `${when(at, { weekday: "short" })} 00:00`;
    return when(at, { hour: "2-digit", minute: "2-digit", ...(length <= 300 ? { second: "2-digit" } : {}) });
  });

  const colour = (name) => getComputedStyle(figure).getPropertyValue(name).trim();

  // Steps with a point in the middle of each, and an empty one in each gap so that the line is interrupted.
  const columns = (series) => {
    const rows = series.points.map((point) =>
      [(Date.parse(point.at) + Date.parse(point.until)) / 2000, point.mean, point.high, point.low]);
    for (const gap of series.gaps) rows.push([(Date.parse(gap.from) + Date.parse(gap.to)) / 2000, null, null, null]);
    rows.sort((one, other) => one[0] - other[0]);
    return [0, 1, 2, 3].map((index) => rows.map((row) => row[index]));
  };

  const options = () => {
    const axis = { stroke: colour("--axis"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false },
      font: `11px ${getComputedStyle(figure).fontFamily}` };
    const line = colour("--series-1");
    const made = {
      width: host.clientWidth, height: host.clientHeight, padding: [TOP, RIGHT, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => show(whole) } },
      scales: { x: { time: true, range: () => view } },
      axes: [{ ...axis, size: BOTTOM, grid: { show: false }, values: labels }, { ...axis, size: LEFT, values: (_, values) => values.map((v) => number(v)) }],
      series: [{}, { stroke: line, width: 1.5, fill: colour("--series-1-soft"), fillTo: (self) => self.scales.y.min, spanGaps: false, points: { show: false } },
        { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } }],
      bands: [{ series: [2, 3], fill: colour("--env") || `color-mix(in srgb, ${line} 16%, transparent)` }],
      hooks: {
        drawClear: [(self) => {
          const { left, top, height, width } = self.bbox;
          self.ctx.fillStyle = colour("--idle-soft");
          for (const gap of gaps) {
            const [first, last] = gap.map((at) => Math.min(Math.max(self.valToPos(at, "x", true), left), left + width));
            self.ctx.fillRect(first, top, last - first, height);
          }
        }],
        setSelect: [(self) => {
          if (self.select.width < 4) return;
          const [first, last] = [self.select.left, self.select.left + self.select.width].map((x) => self.posToVal(x, "x"));
          self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          show([first, last]);
        }],
        setCursor: [(self) => {
          const index = self.cursor.idx;
          host.title = index === null || index === undefined ? "" : readout(self.data, index);
        }],
      },
    };
    if (zone) made.tzDate = (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), zone);
    return made;
  };

  const readout = (data, index) => {
    if (data[1][index] === null) return "No readings";
    return `${number(data[1][index])}${unit ? ` ${unit}` : ""}, ${moment(data[0][index])}`;
  };

  const summarise = (series) => {
    const points = series.points;
    const readings = points.reduce((sum, point) => sum + point.readings, 0);
    const values = points.length === 0 ? {} : {
      Lowest: number(Math.min(...points.map((point) => point.low))),
      Mean: number(points.reduce((sum, point) => sum + point.mean * point.readings, 0) / readings),
      Highest: number(Math.max(...points.map((point) => point.high))),
      Gaps: series.gaps.length === 0 ? "none" : String(series.gaps.length),
    };
    values.Readings = readings.toLocaleString("en");
    const each = series.source === "readings" && points.every((point) => point.readings === 1);
    note.textContent = [unit, each ? "each reading" : `mean of ${lasting(series.step)}`].filter(Boolean).join(", ");
    if (view.join() !== whole.join()) ranges.forEach((range) => range.removeAttribute("aria-current"));
    for (const fact of facts) fact.textContent = values[fact.dataset.fact] ?? "\u2013";
    host.setAttribute("aria-label", points.length === 0 ? `${title}: no readings in this time.`
      : `${title}, from ${moment(view[0])} to ${moment(view[1])}: ` +
        `between ${values.Lowest} and ${values.Highest} ${unit}, in the mean ${values.Mean}.`);
  };

  const address = (text, span) => {
    const url = new URL(text, window.location.href);
    url.searchParams.delete("range");
    url.searchParams.set("from", new Date(Math.round(span[0]) * 1000).toISOString());
    url.searchParams.set("to", new Date(Math.round(span[1]) * 1000).toISOString());
    return url;
  };

  // Load a time range and draw it. The last request counts: answers to earlier ones are ignored.
  const show = async (span) => {
    const now = Date.now() / 1000;
    const length = Math.max(SHORTEST, Math.min(span[1] - span[0], 100 * 365 * 86400));
    const last = Math.min((span[0] + span[1]) / 2 + length / 2, Math.max(now, whole[1]));
    view = [last - length, last];
    asking?.abort();
    asking = new AbortController();
    const url = address(figure.dataset.chart, view);
    url.searchParams.set("points", String(Math.min(2000, Math.max(50, Math.round(figure.clientWidth / PIXELS_A_POINT)))));
    figure.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: asking.signal });
      if (!answer.ok) throw new Error(String(answer.status));
      draw(await answer.json());
      problem.hidden = true;
      const same = view.join() === whole.join();
      window.history.replaceState(window.history.state, "", same ? own : address(own, view));
      if (csv) csv.href = same ? ownCsv : address(ownCsv, view).href;
    } catch (error) {
      if (error.name === "AbortError") return;
      document.dispatchEvent(new Event("appliance:unanswered"));
      problem.hidden = false;
    }
    figure.removeAttribute("aria-busy");
  };

  const draw = (series) => {
    if (host === null) {
      host = document.createElement("div");
      host.className = "zoomed";
      host.setAttribute("role", "img");
      figure.append(host);
      figure.querySelector("svg.plot").classList.add("covered");
    }
    const data = columns(series);
    gaps = series.gaps.map((gap) => [Date.parse(gap.from) / 1000, Date.parse(gap.to) / 1000]);
    if (plot === null) {
      plot = new window.uPlot(options(), data, host);
      new ResizeObserver(() => plot.setSize({ width: host.clientWidth, height: host.clientHeight })).observe(host);
    } else {
      plot.setData(data);
    }
    summarise(series);
  };

  const again = () => { plot?.destroy(); plot = null; if (host) show(view); };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);

  const begin = () => { if (host === null && asking === null) show(view); };
  figure.addEventListener("pointerenter", begin, { once: true });

  const moves = {
    earlier: ([first, last]) => [first - (last - first) * STEP, last - (last - first) * STEP],
    later: ([first, last]) => [first + (last - first) * STEP, last + (last - first) * STEP],
    closer: ([first, last]) => [first + (last - first) / 4, last - (last - first) / 4],
    farther: ([first, last]) => [first - (last - first) / 2, last + (last - first) / 2],
    reset: () => whole,
  };
  for (const button of tools.querySelectorAll("button[data-move]")) {
    button.addEventListener("click", () => show(moves[button.dataset.move](view)));
  }
  tools.hidden = false;
})();
