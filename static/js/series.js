// The series that a strategy drew in one market, over its bids and asks, with the run's fills.
"use strict";
(() => {
  const root = document.getElementById("series");
  if (!root) return;
  const { day, seconds, last, ticks, tickLabel } = axis;
  const canvas = root.querySelector("canvas");
  const readout = root.querySelector("[data-readout]");
  const message = root.querySelector("[data-message]");
  const cut = root.querySelector("[data-cut]");
  const choice = root.querySelector("[data-market]");
  const colour = axis.colours(root);
  const DASHES = { solid: [], dashed: [6, 4], dotted: [1, 3] };
  // As the legend draws it.
  const dash = (name) => DASHES[getComputedStyle(root.querySelector(`[data-colour=${name}]`)).borderTopStyle] || [];
  const MOST_FILLS = 1000;
  const cents = (price) => (price === null ? "–" : `${+(price * 100).toFixed(2)}¢`);
  const plain = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 6 });
  const written = (value) => (value === null ? "–" : plain.format(value));
  const keys = Object.fromEntries(
    [...root.querySelectorAll("[data-series]")].map((item) => [
      item.dataset.series, item.querySelector("[data-colour]").dataset.colour,
    ]),
  );

  let data = null;
  let chart = null;
  let cursor = null;
  let loading = 0;

  // --- Drawing --------------------------------------------------------------------------------

  const book = (name) => data.series.find((series) => series.name === name);
  const own = () => data.series.filter((series) => series.name in keys);
  // Values from 0 to 1 share the axis of the price, in cents; others have one of their own.
  const isPrice = (series) => series.values.every((value) => value === null || (value >= 0 && value <= 1));
  // A value holds until the next one; up to a null it is drawn.
  const line = (series, times) => series.t.flatMap((x, i) => {
    const value = series.values[i];
    if (value === null) return [{ x, y: null }];
    const y = value * times;
    const end = i + 1 < series.t.length ? series.t[i + 1] - 1 : data.until;
    return [{ x, y }, { x: Math.max(x, end), y }];
  });
  const stepped = { type: "line", stepped: "before", pointRadius: 0, pointHitRadius: 0, spanGaps: false };
  const side = (name) => ({
    ...stepped, data: line(book(name), 100), borderColor: colour("band", 0.8), borderWidth: 1, order: 3,
  });
  const fills = (bookSide, name, rotation) => ({
    type: "scatter",
    data: data.fills.filter((fill) => fill.side === bookSide).map(({ x, y }) => ({ x, y })),
    pointStyle: "triangle",
    rotation,
    radius: 5,
    borderColor: colour(name),
    backgroundColor: colour(name),
    order: 1,
  });
  const datasets = () => [
    side("bid"),
    { ...side("ask"), backgroundColor: colour("band", 0.18), fill: 0 },
    ...own().map((series) => ({
      ...stepped,
      data: line(series, isPrice(series) ? 100 : 1),
      yAxisID: isPrice(series) ? "y" : "other",
      borderColor: colour(keys[series.name]),
      borderDash: dash(keys[series.name]),
      borderWidth: 1.5,
      order: 2,
    })),
    fills("bid", "bought", 0),
    fills("ask", "sold", 180),
  ];
  const scales = () => {
    const text = axis.text(getComputedStyle(readout).color);
    const others = own().some((series) => !isPrice(series));
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
        suggestedMax: 10,
        ticks: { ...text, callback: (value) => `${+value.toFixed(1)}¢`, padding: 8, maxTicksLimit: 6 },
        grid: { color: colour("band", 0.12), drawTicks: false },
        border: { display: false },
      },
      other: {
        display: others,
        position: "left",
        ticks: { ...text, callback: (value) => plain.format(value), padding: 8, maxTicksLimit: 6 },
        grid: { display: false },
        border: { display: false },
      },
    };
  };
  const draw = () => {
    message.hidden = true;
    root.dataset.points = data.series.reduce((sum, series) => sum + series.t.length, 0);
    if (chart) chart.destroy();
    chart = new Chart(canvas, {
      data: { datasets: datasets() },
      options: axis.options(scales(), { top: 8 }),
      plugins: [axis.crosshair(() => cursor, () => getComputedStyle(readout).color)],
    });
    read();
    const names = own().map((series) => series.name).join(", ");
    canvas.setAttribute("aria-label", `${names} of ${choice.value}, over its bids and asks, with ${fillsInWords()}.`);
    cut.hidden = !data.hasMoreFills;
    cut.textContent = `The chart shows ${fillsInWords()} of the market; the journal has all of them.`;
  };

  // --- Words ----------------------------------------------------------------------------------

  const fillsInWords = () => `${data.hasMoreFills ? "the first " : ""}${plain.format(data.fills.length)} fills`;
  const at = (series, when) => {
    const i = axis.inForce(series.t, when);
    return i < 0 ? null : series.values[i];
  };
  const read = () => {
    const when = cursor === null ? data.until : cursor;
    const values = own().map((series) => `${series.name} ${written(at(series, when))}`);
    const sides = ["bid", "ask"].map((name) => `${name} ${cents(at(book(name), when))}`);
    readout.textContent = `${day.format(when)} ${seconds.format(when)} UTC   ${[...sides, ...values].join("   ")}`;
  };

  // --- Loading --------------------------------------------------------------------------------

  const answer = async (address, query) => {
    const response = await fetch(`${address}?${new URLSearchParams(query)}`);
    if (!response.ok) throw new Error(`series: ${response.status}`);
    return response.json();
  };
  const load = async () => {
    loading += 1;
    const mine = loading;
    const ticker = choice.value;
    try {
      const [{ results: series }, fills] = await Promise.all([
        answer(root.dataset.url, { ticker }),
        answer(root.dataset.fills, { ticker, kind: "fill", limit: MOST_FILLS }),
      ]);
      if (mine !== loading) return;
      const marks = fills.results.map((entry) => ({
        x: Date.parse(entry.at), y: Number(entry.price) * 100, side: entry.book_side,
      }));
      const times = series.flatMap((each) => each.t).concat(marks.map((mark) => mark.x));
      data = {
        series,
        fills: marks,
        hasMoreFills: fills.next !== null,
        start: Math.min(...times),
        until: Math.max(...times),
      };
    } catch {
      message.hidden = false;
      message.textContent = "The chart’s data did not arrive. Load the page again to ask for it.";
      return;
    }
    cursor = null;
    draw();
  };

  // --- Events ---------------------------------------------------------------------------------

  const point = (when) => {
    cursor = when;
    chart.draw();
    read();
  };
  choice.addEventListener("change", load);
  canvas.addEventListener("pointermove", (event) => {
    if (chart) point(chart.scales.x.getValueForPixel(event.offsetX));
  });
  canvas.addEventListener("pointerleave", () => chart && point(null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!chart || !step) return;
    event.preventDefault();
    const moved = (cursor === null ? data.until : cursor) + (step * (data.until - data.start)) / 100;
    point(Math.min(Math.max(moved, data.start), data.until));
  });
  document.addEventListener("theme", () => data && draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
  document.addEventListener("DOMContentLoaded", load);
})();
