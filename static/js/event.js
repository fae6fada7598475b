// The midpoints of an event's outcomes together, and where nothing was recorded.
"use strict";
(() => {
  const root = document.getElementById("event-chart");
  if (!root) return;
  const canvas = root.querySelector("canvas");
  const readout = root.querySelector("[data-readout]");
  const message = root.querySelector("[data-message]");
  const { day, seconds, ticks, tickLabel } = axis;
  const colour = axis.colours(root);
  const REFRESH = 15000;
  const DASHES = { solid: [], dashed: [6, 4], dotted: [1, 3] };
  const dash = (name) => DASHES[getComputedStyle(root.querySelector(`[data-colour=${name}]`)).borderTopStyle] || [];
  const cents = (price) => (price === null ? "–" : `${+(price * 100).toFixed(2)}¢`);

  let range = "1d";
  let data = null;
  let chart = null;
  let cursor = null;
  let loading = 0;

  // A midpoint holds until the next; a null where recording stopped breaks the line.
  const line = ({ t, mid }) => {
    const points = t.map((x, i) => ({ x, y: mid[i] === null ? null : mid[i] * 100 }));
    for (const [from, to] of data.gaps) {
      const before = points.findLast((point) => point.x <= from);
      if (before) points.push({ x: from - 1, y: before.y });
      points.push({ x: from, y: null }, { x: to, y: null });
    }
    points.sort((a, b) => a.x - b.x);
    const end = points[points.length - 1];
    if (end && end.y !== null) points.push({ x: data.until, y: end.y });
    return points;
  };
  const datasets = () => data.lines.map((each, i) => ({
    type: "line",
    stepped: "before",
    pointRadius: 0,
    spanGaps: false,
    data: line(each),
    borderColor: colour(`line-${i + 1}`),
    borderDash: dash(`line-${i + 1}`),
    borderWidth: 1.5,
  }));
  const scales = () => {
    const text = { color: colour("gap"), font: { family: "Inter Variable, sans-serif", size: 12 } };
    return {
      x: {
        type: "linear",
        min: data.start,
        max: data.until,
        afterBuildTicks: ticks,
        ticks: { ...text, callback: tickLabel, maxRotation: 0, autoSkip: false, padding: 6 },
        grid: { display: false },
      },
      y: {
        position: "right",
        min: 0,
        suggestedMax: 20,
        ticks: { ...text, callback: (value) => `${+value.toFixed(1)}¢`, padding: 8, maxTicksLimit: 6 },
        grid: { color: colour("gap", 0.15), drawTicks: false },
        border: { display: false },
      },
    };
  };
  const read = () => {
    const at = cursor === null ? data.until : cursor;
    const missing = data.gaps.some(([from, to]) => at > from && at < to);
    const values = data.lines.map(({ name, t, mid }) => {
      const i = axis.inForce(t, at);
      return `${name} ${i < 0 ? "–" : cents(mid[i])}`;
    });
    const words = missing ? "not recorded" : values.join("   ");
    readout.textContent = `${day.format(at)} ${seconds.format(at)} UTC   ${words}`;
    canvas.setAttribute("aria-label", `Midpoints of ${root.dataset.name}, range ${range}: ${words}. A table follows the chart.`);
  };
  const draw = () => {
    const points = data.lines.reduce((sum, { t }) => sum + t.length, 0);
    root.dataset.points = points;
    root.querySelector("[data-gaps]").hidden = data.gaps.length === 0;
    message.hidden = points > 0;
    message.textContent = "Nothing was recorded in this range. Choose a longer one.";
    if (chart) {
      chart.data.datasets = datasets();
      chart.options.scales = scales();
      chart.update("none");
    } else {
      chart = new Chart(canvas, {
        data: { datasets: datasets() },
        options: {
          animation: false,
          parsing: false,
          normalized: true,
          maintainAspectRatio: false,
          events: [],
          layout: { padding: { top: 8 } },
          plugins: { legend: { display: false }, tooltip: { enabled: false } },
          scales: scales(),
        },
        plugins: [axis.gaps(() => data.gaps, () => colour("gap", 0.4)), axis.crosshair(() => cursor, () => colour("gap", 0.8))],
      });
    }
    read();
  };
  const load = async () => {
    loading += 1;
    const own = loading;
    try {
      const response = await fetch(`${root.dataset.url}?${new URLSearchParams({ range })}`);
      if (!response.ok) throw new Error(`chart data: ${response.status}`);
      const columns = await response.json();
      if (own !== loading) return;
      data = columns;
      draw();
    } catch {
      if (data) return;
      message.hidden = false;
      message.textContent = "The chart could not be loaded. It is asked for again.";
    }
  };
  for (const button of root.querySelectorAll("[data-range]")) {
    button.addEventListener("click", () => {
      range = button.dataset.range;
      for (const each of root.querySelectorAll("[data-range]")) {
        each.setAttribute("aria-pressed", String(each === button));
      }
      load();
    });
  }
  canvas.addEventListener("pointermove", (event) => {
    if (!chart) return;
    cursor = chart.scales.x.getValueForPixel(event.offsetX);
    chart.draw();
    read();
  });
  canvas.addEventListener("pointerleave", () => {
    if (!chart) return;
    cursor = null;
    chart.draw();
    read();
  });
  document.addEventListener("theme", () => { if (data) draw(); });
  setInterval(() => { if (!document.hidden) load(); }, REFRESH);
  load();
})();
