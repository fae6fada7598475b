// The equity of a backtest, and how far it lay below its highest.
"use strict";
(() => {
  const root = document.getElementById("equity");
  if (!root) return;
  const { day, seconds, last, ticks, tickLabel } = axis;
  const canvases = Object.fromEntries(
    [...root.querySelectorAll("[data-plot]")].map((canvas) => [canvas.dataset.plot, canvas]),
  );
  const readout = root.querySelector("[data-readout]");
  const message = root.querySelector("[data-message]");
  const cash = Number(root.dataset.cash);
  const number = (options) => new Intl.NumberFormat("en-US", options);
  const money = number({ style: "currency", currency: "USD" });
  const dollars = number({ style: "currency", currency: "USD", maximumFractionDigits: 0 });
  const share = number({ style: "percent", minimumFractionDigits: 2 });
  const colour = axis.colours(root);

  let data = null;
  let cursor = null;
  const charts = [];

  const points = (column) => data.t.map((x, i) => ({ x, y: column[i] }));
  const stepped = { type: "line", stepped: "before", pointRadius: 0, pointHitRadius: 0, borderWidth: 1.5 };
  const scales = (written, y) => {
    const text = axis.text(colour("cash"));
    return {
      x: {
        type: "linear",
        min: data.t[0],
        max: last(data.t),
        afterBuildTicks: ticks,
        ticks: { ...text, callback: tickLabel, maxRotation: 0, autoSkip: false, padding: 6 },
        grid: { display: false },
        border: { color: colour("cash", 0.3) },
      },
      y: {
        position: "right",
        ticks: { ...text, callback: written, padding: 8, maxTicksLimit: 6 },
        grid: { color: colour("cash", 0.15), drawTicks: false },
        border: { display: false },
        afterFit: (scale) => { scale.width = 76; },
        ...y,
      },
    };
  };
  const plots = () => ({
    equity: {
      datasets: [
        {
          ...stepped,
          data: points(data.equity),
          borderColor: colour("equity"),
          fill: { value: cash, above: colour("equity", 0.16), below: colour("drawdown", 0.16) },
        },
        {
          ...stepped,
          data: [{ x: data.t[0], y: cash }, { x: last(data.t), y: cash }],
          borderColor: colour("cash", 0.8),
          borderDash: [4, 4],
          borderWidth: 1,
        },
      ],
      scales: scales((value) => (Number.isInteger(value) ? dollars : money).format(value), { grace: "5%" }),
    },
    drawdown: {
      datasets: [
        {
          ...stepped,
          data: points(data.drawdown.map((fall) => -fall)),
          borderColor: colour("drawdown"),
          backgroundColor: colour("drawdown", 0.2),
          fill: "origin",
        },
      ],
      scales: scales((value) => share.format(value), { max: 0, suggestedMin: -0.0001 }),
    },
  });

  const draw = () => {
    message.hidden = true;
    root.dataset.points = data.t.length;
    for (const chart of charts.splice(0)) chart.destroy();
    for (const [name, plot] of Object.entries(plots())) {
      charts.push(new Chart(canvases[name], {
        data: { datasets: plot.datasets },
        options: axis.options(plot.scales),
        plugins: [axis.crosshair(() => cursor, () => colour("cash", 0.8))],
      }));
    }
    read();
  };

  const words = (i) => {
    const gained = data.equity[i] - cash;
    return `equity ${money.format(data.equity[i])} (${gained < 0 ? "" : "+"}${money.format(gained)})   ${share.format(data.drawdown[i])} below its highest`;
  };
  const read = () => {
    const at = cursor === null ? last(data.t) : cursor;
    const i = Math.max(axis.inForce(data.t, at), 0);
    readout.textContent = `${day.format(at)} ${seconds.format(at)} UTC   ${words(i)}`;
  };
  const describe = () => {
    const lowest = money.format(Math.min(...data.equity));
    const highest = money.format(Math.max(...data.equity));
    canvases.equity.setAttribute("aria-label", `Equity from ${money.format(data.equity[0])} to ${money.format(last(data.equity))}, between ${lowest} and ${highest}. The figures follow.`);
    canvases.drawdown.setAttribute("aria-label", `Drawdown, at most ${share.format(Math.max(...data.drawdown))}.`);
  };

  const load = async () => {
    try {
      const response = await fetch(root.dataset.url);
      if (!response.ok) throw new Error(`equity: ${response.status}`);
      data = (await response.json()).columns;
    } catch {
      message.textContent = "The chart’s data did not arrive. Load the page again to ask for it.";
      return;
    }
    draw();
    describe();
  };

  const point = (at) => {
    cursor = at;
    for (const chart of charts) chart.draw();
    read();
  };
  for (const canvas of Object.values(canvases)) {
    canvas.addEventListener("pointermove", (event) => {
      if (charts.length) point(charts[0].scales.x.getValueForPixel(event.offsetX));
    });
    canvas.addEventListener("pointerleave", () => data && point(null));
  }
  canvases.equity.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!data || !step) return;
    event.preventDefault();
    const [first, end] = [data.t[0], last(data.t)];
    const moved = (cursor === null ? end : cursor) + (step * (end - first)) / 100;
    point(Math.min(Math.max(moved, first), end));
  });
  document.addEventListener("theme", () => data && draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
  document.addEventListener("DOMContentLoaded", load);
})();
