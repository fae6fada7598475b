// The price chart: a band from bid to ask, the last trade, the volume, and where nothing is known.
"use strict";
(() => {
  const root = document.getElementById("chart");
  if (!root) return;
  const canvas = root.querySelector("canvas");
  const readout = root.querySelector("[data-readout]");
  const message = root.querySelector("[data-message]");
  const REFRESH = 5000;
  const MOST_POINTS = 2500;
  const VOLUME_BARS = 90;
  const { SECOND, MINUTE, HOUR, day, seconds, last, ticks, tickLabel } = axis;
  const PRICE_STEPS = [0.5, 1, 2, 5, 10, 20];
  const cents = (price) => (price === null ? "–" : `${+(price * 100).toFixed(2)}¢`);

  let range = "1d";
  let data = null;
  let chart = null;
  let cursor = null;
  let loading = 0;

  // --- Data -----------------------------------------------------------------------------------

  // A quote holds until the next; a null where recording stopped breaks the line.
  const line = (column) => {
    const breaks = data.gaps.map(([from]) => ({ x: from, y: null }));
    const points = data.t.map((x, i) => ({ x, y: column[i] === null ? null : column[i] * 100 }));
    const end = last(data.gaps);
    const held = !end || end[1] < data.until;
    if (points.length && held && last(points).x < data.until) {
      points.push({ x: data.until, y: last(points).y });
    }
    // The quote before a gap is drawn up to it.
    for (const stop of breaks) {
      const before = points.findLast((point) => point.x <= stop.x);
      if (before) points.push({ x: stop.x - 1, y: before.y });
    }
    return points.concat(breaks).sort((a, b) => a.x - b.x);
  };

  // `volume` is cumulative: what traded between two points belongs to the later one.
  const bars = () => {
    const width = (data.until - data.start) / VOLUME_BARS;
    const sums = new Array(VOLUME_BARS).fill(0);
    for (let i = 1; i < data.t.length; i += 1) {
      // When it traded inside a gap is not known.
      if (data.gaps.some(([from]) => data.t[i - 1] <= from && from < data.t[i])) continue;
      const traded = data.volume[i] - data.volume[i - 1];
      const bar = Math.min(Math.floor((data.t[i] - data.start) / width), VOLUME_BARS - 1);
      if (traded > 0 && bar >= 0) sums[bar] += traded;
    }
    return sums.map((y, i) => ({ x: data.start + (i + 0.5) * width, y }));
  };

  const priceLimits = () => {
    const shown = data.t.map((x, i) => x >= data.start || i === data.t.length - 1 || data.t[i + 1] > data.start);
    const seen = [data.bid, data.ask, data.last].flatMap((c) => c.filter((p, i) => p !== null && shown[i]));
    if (!seen.length) return [0, 100, 20];
    const low = Math.min(...seen) * 100;
    const high = Math.max(...seen) * 100;
    const room = Math.max((high - low) * 0.08, 0.5);
    const step = PRICE_STEPS.find((s) => (high - low + 2 * room) / s <= 6);
    const bottom = Math.floor((low - room) / step) * step;
    return [Math.max(0, bottom), Math.min(100, Math.ceil((high + room) / step) * step), step];
  };

  // --- Drawing --------------------------------------------------------------------------------

  const colour = axis.colours(root);

  const gaps = axis.gaps(() => data.gaps, () => colour("gap", 0.4));
  const crosshair = axis.crosshair(() => cursor, () => colour("gap", 0.8));

  const stepped = { type: "line", stepped: "before", pointRadius: 0, pointHitRadius: 0, spanGaps: false };
  const datasets = () => [
    { ...stepped, data: line(data.bid), borderColor: colour("band", 0.8), borderWidth: 1, order: 2 },
    {
      ...stepped,
      data: line(data.ask),
      borderColor: colour("band", 0.8),
      borderWidth: 1,
      backgroundColor: colour("band", 0.22),
      fill: 0,
      order: 2,
    },
    { ...stepped, data: line(data.last), borderColor: colour("last", 0.8), borderWidth: 1, order: 1 },
    {
      type: "bar",
      data: bars(),
      yAxisID: "volume",
      backgroundColor: colour("volume", 0.35),
      barPercentage: 1,
      categoryPercentage: 0.8,
      order: 3,
    },
  ];
  const scales = () => {
    const [low, high, step] = priceLimits();
    const text = { color: colour("gap"), font: { family: "Inter Variable, sans-serif", size: 12 } };
    const grid = { color: colour("gap", 0.15), drawTicks: false };
    const most = Math.max(1, ...bars().map((bar) => bar.y));
    return {
      x: {
        type: "linear",
        min: data.start,
        max: data.until,
        afterBuildTicks: ticks,
        ticks: { ...text, callback: tickLabel, maxRotation: 0, autoSkip: false, padding: 6 },
        grid: { ...grid, display: false },
        border: { color: colour("gap", 0.3) },
        offset: false,
      },
      y: {
        position: "right",
        min: low,
        max: high,
        ticks: { ...text, callback: (value) => `${+value.toFixed(1)}¢`, stepSize: step, padding: 8 },
        grid,
        border: { display: false },
      },
      volume: { display: false, min: 0, max: most * 5 },
    };
  };

  const draw = () => {
    root.dataset.points = data.t.length;
    root.querySelector("[data-gaps]").hidden = data.gaps.length === 0;
    message.hidden = data.t.length > 0;
    message.textContent = "Nothing was recorded in this range. Choose a longer one.";
    if (!chart) {
      chart = new Chart(canvas, {
        data: { datasets: datasets() },
        options: {
          animation: false,
          parsing: false,
          normalized: true,
          maintainAspectRatio: false,
          events: [],
          layout: { padding: { top: 4 } },
          plugins: { legend: { display: false }, tooltip: { enabled: false } },
          scales: scales(),
        },
        plugins: [gaps, crosshair],
      });
    } else {
      chart.data.datasets = datasets();
      chart.options.scales = scales();
      chart.update("none");
    }
    read();
    describe();
  };

  // --- Words ----------------------------------------------------------------------------------

  const age = (span) => {
    if (span < MINUTE) return `${Math.round(span / SECOND)} s`;
    if (span < HOUR) return `${Math.round(span / MINUTE)} min`;
    return `${(span / HOUR).toFixed(1)} h`;
  };
  const words = (at) => {
    if (data.gaps.some(([from, to]) => at > from && at < to)) return "not recorded";
    const i = axis.inForce(data.t, at);
    if (i < 0) return "nothing recorded yet";
    return `bid ${cents(data.bid[i])}   ask ${cents(data.ask[i])}   last ${cents(data.last[i])}   quoted ${age(at - data.t[i])} before`;
  };
  const read = () => {
    if (!data.t.length) {
      readout.textContent = "";
      return;
    }
    const at = cursor === null ? data.until : cursor;
    readout.textContent = `${day.format(at)} ${seconds.format(at)} UTC   ${words(at)}`;
  };
  const describe = () => {
    const quoted = data.bid.concat(data.ask).filter((price) => price !== null);
    const extent = quoted.length
      ? `quotes between ${cents(Math.min(...quoted))} and ${cents(Math.max(...quoted))}; now ${words(data.until)}`
      : "no quotes";
    canvas.setAttribute("aria-label", `Price of ${root.dataset.name}, range ${range}: ${extent}. A table follows the chart.`);
  };

  // --- Loading --------------------------------------------------------------------------------

  const fetchColumns = async (query) => {
    const named = root.dataset.import;
    const chosen = new URLSearchParams(named ? { ...query, import: named } : query);
    const response = await fetch(`${root.dataset.url}?${chosen}`);
    if (!response.ok) throw new Error(`chart data: ${response.status}`);
    return response.json();
  };
  const load = async () => {
    loading += 1;
    const mine = loading;
    const loaded = await fetchColumns({ range });
    if (mine !== loading) return;
    data = loaded;
    draw();
  };
  const COLUMNS = ["t", "bid", "ask", "last", "volume"];
  const append = async () => {
    if (!data.t.length || data.t.length > MOST_POINTS) return load();
    const mine = loading;
    const newer = await fetchColumns({ range, since: last(data.t) });
    if (mine !== loading) return undefined;
    for (const column of COLUMNS) data[column] = data[column].concat(newer[column]);
    // A gap that was still open is told again, longer; a finished one stays.
    const known = new Set(newer.gaps.map(([from]) => from));
    data.gaps = data.gaps.filter(([from]) => !known.has(from)).concat(newer.gaps);
    data.until = newer.until;
    if (range !== "all") data.start = newer.start;
    const stale = data.t.findIndex((t) => t > data.start) - 1;
    if (stale > 0) for (const column of COLUMNS) data[column].splice(0, stale);
    draw();
    return undefined;
  };
  const quietly = async (work) => {
    try {
      await work();
    } catch {
      if (!data) message.textContent = "The chart’s data did not arrive. It is asked for again in a moment.";
    }
  };

  // --- Events ---------------------------------------------------------------------------------

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[data-range]");
    if (!button) return;
    range = button.dataset.range;
    for (const other of root.querySelectorAll("[data-range]")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    quietly(load);
  });
  const point = (at) => {
    cursor = at;
    chart.draw();
    read();
  };
  canvas.addEventListener("pointermove", (event) => {
    if (chart) point(chart.scales.x.getValueForPixel(event.offsetX));
  });
  canvas.addEventListener("pointerleave", () => {
    if (chart) point(null);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!chart || !step) return;
    event.preventDefault();
    const from = cursor === null ? data.until : cursor;
    const moved = from + (step * (data.until - data.start)) / 100;
    point(Math.min(Math.max(moved, data.start), data.until));
  });
  document.addEventListener("theme", () => data && draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
  setInterval(() => {
    if (!document.hidden) quietly(data ? append : load);
  }, REFRESH);
  document.addEventListener("DOMContentLoaded", () => quietly(load));
})();
