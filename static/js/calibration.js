// The reliability diagram, the returns by price, and the scores over time.
"use strict";
(() => {
  const { ticks, tickLabel } = axis;
  const per = new Intl.NumberFormat("en-US", { style: "percent", maximumFractionDigits: 1 });
  const whole = new Intl.NumberFormat("en-US");
  const cents = (share) => `${+(share * 100).toFixed(1)}¢`;
  let charts = [];

  const data = () => JSON.parse(document.getElementById("calibration-data").textContent);
  const root = () => document.getElementById("results");
  const canvas = (name) => root().querySelector(`[data-plot=${name}]`);

  // --- What the charts share ----------------------------------------------------------------------

  const text = (colour) => axis.text(colour("diagonal"));
  const scale = (colour, written, options) => ({
    type: "linear",
    ticks: { ...text(colour), callback: written, padding: 6, maxRotation: 0 },
    grid: { color: colour("count", 0.15), drawTicks: false },
    border: { color: colour("count", 0.3) },
    ...options,
  });
  const titled = (colour, words) => ({ title: { display: true, text: words, ...text(colour) } });
  // An upright line from the low to the high end of each point's interval.
  const intervals = {
    id: "intervals",
    beforeDatasetsDraw(chart) {
      const { ctx, scales: { x, y }, chartArea: area } = chart;
      ctx.save();
      ctx.beginPath();
      ctx.rect(area.left, area.top, area.width, area.height);
      ctx.clip();
      for (const { data: points, borderColor } of chart.data.datasets) {
        ctx.strokeStyle = borderColor;
        ctx.lineWidth = 1.5;
        for (const point of points) {
          if (point.low === undefined) continue;
          const at = x.getPixelForValue(point.x);
          ctx.beginPath();
          for (const end of [point.low, point.high]) {
            ctx.moveTo(at - 4, y.getPixelForValue(end));
            ctx.lineTo(at + 4, y.getPixelForValue(end));
          }
          ctx.moveTo(at, y.getPixelForValue(point.low));
          ctx.lineTo(at, y.getPixelForValue(point.high));
          ctx.stroke();
        }
      }
      ctx.restore();
    },
  };
  const options = (scales) => axis.options(scales, { top: 4, right: 8 });
  const dots = (points, tone) => ({
    type: "scatter", data: points, borderColor: tone, backgroundColor: tone, radius: 4.5, order: 1,
  });

  // --- The diagram --------------------------------------------------------------------------------

  const drawCurve = (bins, colour) => {
    const most = Math.max(1, ...bins.map((bin) => bin.count));
    const told = bins.filter((bin) => bin.outcome !== null);
    const points = told.map((bin) => ({ x: bin.price, y: bin.outcome, low: bin.outcome_low, high: bin.outcome_high }));
    const counts = bins.map((bin) => ({ x: (bin.low + bin.high) / 2, y: bin.count }));
    const shares = { min: 0, max: 1, offset: false };
    const chart = new Chart(canvas("curve"), {
      data: {
        datasets: [
          dots(points, colour("curve")),
          {
            type: "line", data: [{ x: 0, y: 0 }, { x: 1, y: 1 }], borderColor: colour("diagonal", 0.7),
            borderWidth: 1, borderDash: [5, 4], pointRadius: 0, order: 2,
          },
          {
            type: "bar", data: counts, yAxisID: "counts", backgroundColor: colour("count", 0.25),
            barPercentage: 1, categoryPercentage: 0.94, order: 3,
          },
        ],
      },
      options: options({
        x: scale(colour, cents, { ...shares, ...titled(colour, "price"), ticks: { ...text(colour), callback: cents, stepSize: 0.2, padding: 6, maxRotation: 0 } }),
        y: scale(colour, (share) => per.format(share), { ...shares, ...titled(colour, "came true") }),
        counts: { type: "linear", display: false, min: 0, max: most * 5 },
      }),
      plugins: [intervals],
    });
    const readout = root().querySelector("[data-readout]");
    const binAt = (event) => {
      const share = chart.scales.x.getValueForPixel(event.offsetX);
      return bins.findIndex((bin) => bin.low <= share && share < bin.high);
    };
    canvas("curve").addEventListener("pointermove", (event) => {
      const bin = bins[binAt(event)];
      if (bin) readout.textContent = words(bin);
    });
    canvas("curve").addEventListener("click", (event) => {
      root().querySelector(`[data-bin="${binAt(event)}"]`)?.click();
    });
    return chart;
  };
  const words = (bin) => {
    const numbers = `${whole.format(bin.count)} markets, ${whole.format(bin.events)} events`;
    const span = `${cents(bin.low)} to ${cents(bin.high)}`;
    if (bin.outcome === null) return `${span}: ${numbers}`;
    return `${span}: mean price ${cents(bin.price)}, came true ${per.format(bin.outcome)} (${per.format(bin.outcome_low)} to ${per.format(bin.outcome_high)}), ${numbers}`;
  };

  // --- Returns and scores -------------------------------------------------------------------------

  const drawReturns = (sides, colour) => {
    const points = (bins) => bins.filter((bin) => bin.net !== null).map((bin) => ({ x: bin.price, y: bin.net, low: bin.net_low, high: bin.net_high }));
    const shown = [...points(sides.yes), ...points(sides.no)];
    const reach = Math.min(1, Math.max(0.1, ...shown.flatMap((point) => [Math.abs(point.low), Math.abs(point.high)])));
    return new Chart(canvas("returns"), {
      data: {
        datasets: [
          { ...dots(points(sides.yes), colour("yes")), pointStyle: "circle" },
          { ...dots(points(sides.no), colour("no")), pointStyle: "rectRot", radius: 6 },
          { type: "line", data: [{ x: 0, y: 0 }, { x: 1, y: 0 }], borderColor: colour("diagonal", 0.7), borderWidth: 1, pointRadius: 0, order: 2 },
        ],
      },
      options: options({
        x: scale(colour, cents, { min: 0, max: 1, ...titled(colour, "price paid") }),
        y: scale(colour, (share) => per.format(share), { min: -reach, max: reach }),
      }),
      plugins: [intervals],
    });
  };
  const drawTrail = (trail, colour) => {
    const scores = trail.at.map((x, i) => ({ x, y: trail.score[i] }));
    const mean = trail.at.map((x, i) => ({ x, y: trail.average[i] }));
    const y = scale(colour, (score) => score.toFixed(2), { min: 0, max: 1 });
    return new Chart(canvas("trail"), {
      data: {
        datasets: [
          { type: "line", data: mean, borderColor: colour("curve"), borderWidth: 2, pointRadius: 0, order: 1 },
          { type: "scatter", data: scores, backgroundColor: colour("count", 0.35), radius: 2, order: 2 },
        ],
      },
      options: options({
        x: scale(colour, tickLabel, { afterBuildTicks: ticks, grid: { display: false }, min: trail.at[0], max: Math.max(trail.at[trail.at.length - 1], trail.at[0] + 1), ticks: { ...text(colour), callback: tickLabel, maxRotation: 0, autoSkip: false, padding: 6 } }),
        y,
      }),
    });
  };
  const drawClasses = (classes, colour) => {
    const bars = classes.map((x, i) => ({ x, y: (i + 0.5) / classes.length }));
    return new Chart(canvas("classes"), {
      data: {
        datasets: [{ type: "bar", indexAxis: "y", data: bars, backgroundColor: colour("count", 0.5), barPercentage: 1, categoryPercentage: 0.9 }],
      },
      options: {
        ...options({
          x: scale(colour, (count) => whole.format(count), { grid: { display: false }, ticks: { ...text(colour), maxTicksLimit: 3, maxRotation: 0, callback: (count) => whole.format(count) } }),
          y: { type: "linear", display: false, min: 0, max: 1 },
        }),
        indexAxis: "y",
      },
    });
  };

  const draw = () => {
    for (const chart of charts) chart.destroy();
    charts = [];
    if (!document.getElementById("calibration-data")) return;
    const colour = axis.colours(root());
    const { curve, returns, trail } = data();
    charts = [drawCurve(curve, colour), drawReturns(returns, colour)];
    if (trail.at.length) charts.push(drawTrail(trail, colour), drawClasses(trail.classes, colour));
  };

  document.addEventListener("DOMContentLoaded", draw);
  document.addEventListener("htmx:afterSwap", ({ target }) => {
    if (target.id === "results" || target.querySelector?.("#calibration-data")) draw();
  });
  document.addEventListener("theme", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
