// What charts share: the axis of time, the crosshair, and the legend's colours.
"use strict";
const axis = (() => {
  const SECOND = 1000;
  const MINUTE = 60 * SECOND;
  const HOUR = 60 * MINUTE;
  const DAY = 24 * HOUR;
  const TICK_STEPS = [
    5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
    30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY,
    30 * DAY, 90 * DAY, 365 * DAY,
  ];
  const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
  const clock = format({ hour: "2-digit", minute: "2-digit" });
  const seconds = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = format({ day: "numeric", month: "short" });
  const last = (list) => list[list.length - 1];

  const ticks = (scale) => {
    const wanted = (scale.max - scale.min) / Math.max(2, Math.floor(scale.width / 80));
    const step = TICK_STEPS.find((s) => s >= wanted) || last(TICK_STEPS);
    scale.ticks = [];
    for (let at = Math.ceil(scale.min / step) * step; at <= scale.max; at += step) {
      scale.ticks.push({ value: at });
    }
    scale.step = step;
  };
  const tickLabel = function (value) {
    if (value % DAY === 0 || this.step >= DAY) return day.format(value);
    return (this.step < MINUTE ? seconds : clock).format(value);
  };

  // The last of some times in order that is not after an instant; -1 where there is none.
  const inForce = (times, at) => {
    let index = -1;
    for (let low = 0, high = times.length - 1; low <= high;) {
      const middle = (low + high) >> 1;
      if (times[middle] <= at) {
        index = middle;
        low = middle + 1;
      } else high = middle - 1;
    }
    return index;
  };

  // The legend's own colours, so that a theme needs no word here.
  const colours = (root) => (name, alpha = 1) => {
    const [r, g, b] = getComputedStyle(root.querySelector(`[data-colour=${name}]`)).color.match(/[\d.]+/g);
    return `rgb(${r} ${g} ${b} / ${alpha})`;
  };

  const crosshair = (cursor, tone) => ({
    id: "crosshair",
    afterDatasetsDraw({ ctx, chartArea: area, scales: { x } }) {
      if (cursor() === null) return;
      const at = x.getPixelForValue(cursor());
      if (at < area.left || at > area.right) return;
      ctx.save();
      ctx.strokeStyle = tone();
      ctx.setLineDash([3, 3]);
      ctx.beginPath();
      ctx.moveTo(at, area.top);
      ctx.lineTo(at, area.bottom);
      ctx.stroke();
      ctx.restore();
    },
  });

  const hatch = (context, tone) => {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const pen = tile.getContext("2d");
    pen.strokeStyle = tone;
    for (const x of [-8, 0, 8]) {
      pen.moveTo(x, 8);
      pen.lineTo(x + 8, 0);
    }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  };

  // Times without a record, hatched behind the lines.
  const gaps = (list, tone) => ({
    id: "gaps",
    beforeDatasetsDraw({ ctx, chartArea: area, scales: { x } }) {
      ctx.save();
      ctx.fillStyle = hatch(ctx, tone());
      for (const [from, to] of list()) {
        const left = Math.max(x.getPixelForValue(from), area.left);
        const right = Math.min(x.getPixelForValue(to), area.right);
        if (right > left) ctx.fillRect(left, area.top, Math.max(right - left, 1), area.height);
      }
      ctx.restore();
    },
  });

  return {
    SECOND, MINUTE, HOUR, DAY, day, seconds, last, ticks, tickLabel, inForce, colours, crosshair, gaps,
  };
})();
