// Zoom and pan for the chart of a device. The server has drawn it already; uPlot takes over with the first touch of the
// mouse, a finger or a button, and finer data comes from where the numbers come from, the API. Nothing jumps: the
// canvas lies exactly where the picture was. The address follows, so that a reload shows the same.
"use strict";

(() => {
  const PIXELS_A_POINT = 2;
  const LEFT = 44, BOTTOM = 22, TOP = 8, RIGHT = 4;
  const SHORTEST = 10; // seconds that can be seen at once, at least
  const STEP = 0.5; // of what is seen, for one press of a button

  const figure = document.querySelector("figure[data-chart]");
  if (!figure || !window.uPlot) return;
  const card = figure.closest("section");
  const tools = card.querySelector(".chart-tools");
  const problem = card.querySelector(".chart-problem");
  const csv = card.querySelector("a[data-csv]");
  const facts = card.querySelectorAll("dd[data-fact]");
  const { title, unit, zone } = figure.dataset;
  const decimals = figure.dataset.decimals === "" ? null : Number(figure.dataset.decimals);
  const whole = [Number(figure.dataset.from), Number(figure.dataset.to)];

  let view = whole.slice();
  let plot = null;
  let host = null;
  let asking = null;

  const number = (value) => {
    if (value === null || value === undefined) return "";
    const text = decimals === null ? String(Number(value.toPrecision(6))) : value.toFixed(decimals);
    return text.replace("-", "\u2212");
  };
  const colour = (name) => getComputedStyle(figure).getPropertyValue(name).trim();

  // Steps in the middle of which a point stands, with an empty one in each gap so that the line is left open.
  const columns = (series) => {
    const rows = series.points.map((point) =>
      [Date.parse(point.at) / 1000 + series.step / 2, point.mean, point.high, point.low]);
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
      axes: [{ ...axis, size: BOTTOM }, { ...axis, size: LEFT, values: (_, values) => values.map((v) => number(v)) }],
      series: [{}, { stroke: line, width: 1.5, spanGaps: false, points: { show: false } },
        { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } }],
      bands: [{ series: [2, 3], fill: colour("--env") || `color-mix(in srgb, ${line} 16%, transparent)` }],
      hooks: {
        setSelect: [(self) => {
          if (self.select.width < 4) return;
          const [first, last] = [self.select.left, self.select.left + self.select.width].map((x) => self.posToVal(x, "x"));
          self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          show([first, last]);
        }],
        setCursor: [(self) => {
          const index = self.cursor.idx;
          host.title = index === null || index === undefined ? "" : told(self.data, index);
        }],
      },
    };
    if (zone) made.tzDate = (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), zone);
    return made;
  };

  const told = (data, index) => {
    if (data[1][index] === null) return "No readings";
    const at = new Date(data[0][index] * 1000).toLocaleString(undefined, zone ? { timeZone: zone } : undefined);
    return `${number(data[1][index])}${unit ? ` ${unit}` : ""}, ${at}`;
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
    for (const fact of facts) fact.textContent = values[fact.dataset.fact] ?? "\u2013";
    host.setAttribute("aria-label", points.length === 0 ? `${title}: no readings in this time.`
      : `${title}, from ${new Date(view[0] * 1000).toLocaleString()} to ${new Date(view[1] * 1000).toLocaleString()}: ` +
        `between ${values.Lowest} and ${values.Highest} ${unit}, in the mean ${values.Mean}.`);
  };

  const address = (text, span) => {
    const url = new URL(text, window.location.href);
    url.searchParams.delete("range");
    url.searchParams.set("from", new Date(Math.round(span[0]) * 1000).toISOString());
    url.searchParams.set("to", new Date(Math.round(span[1]) * 1000).toISOString());
    return url;
  };

  // Ask for a span and draw it. The last wish counts: an answer that comes after it is thrown away.
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
      const whence = address(window.location.href, view);
      window.history.replaceState(window.history.state, "", whence);
      if (csv) csv.href = address(csv.href, view).href;
    } catch (error) {
      if (error.name === "AbortError") return;
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
