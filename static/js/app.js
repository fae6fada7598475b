// Refreshing, flashing, theme and keys. The server draws; this only notices.
"use strict";
(() => {
  const FLASH = 600;
  const values = (body) => {
    const seen = new Map();
    for (const cell of body.querySelectorAll("[data-value]")) {
      const row = cell.closest("[data-ticker]");
      const peers = row.querySelectorAll("[data-value]");
      seen.set(`${row.dataset.ticker} ${[...peers].indexOf(cell)}`, cell);
    }
    return seen;
  };
  let before = new Map();

  // Trigger filters such as [visible] would need eval, which the content policy forbids.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.target.matches("[data-refresh]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const part of document.querySelectorAll("[data-refresh]")) htmx.trigger(part, "refresh");
  });

  // A refresh names the tag of what is shown, and brings what has changed since (kalshi_insights/htmx.py).
  const tags = new WeakMap();
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (tags.has(detail.elt)) detail.headers["If-None-Match"] = tags.get(detail.elt);
  });
  document.addEventListener("htmx:afterSwap", ({ target, detail }) => {
    const tag = detail.xhr?.getResponseHeader("ETag");
    if (tag && target.matches("[data-refresh]")) tags.set(target, tag);
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!event.target.matches("[data-flash]")) return;
    before = new Map();
    for (const [key, cell] of values(event.target)) before.set(key, cell.textContent);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (!event.target.matches("[data-flash]")) return;
    for (const [key, cell] of values(event.target)) {
      if (!before.has(key) || before.get(key) === cell.textContent) continue;
      cell.classList.add("flash");
      setTimeout(() => cell.classList.remove("flash"), FLASH);
    }
  });

  const offline = (is) => { document.getElementById("offline").hidden = !is; };
  document.addEventListener("htmx:sendError", () => offline(true));
  document.addEventListener("htmx:responseError", () => offline(true));
  document.addEventListener("htmx:beforeSwap", () => offline(false));

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
    document.dispatchEvent(new Event("theme"));
  });

  const menu = document.getElementById("account");
  if (menu) {
    document.addEventListener("click", (event) => { if (!menu.contains(event.target)) menu.open = false; });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }

  const move = (step) => {
    const links = [...document.querySelectorAll(".market-link")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step;
    const link = links[Math.min(Math.max(next, 0), links.length - 1)];
    link.focus({ preventScroll: true });
    link.closest("tr").scrollIntoView({ block: "nearest" });
  };
  const keys = {
    j: () => move(1),
    k: () => move(-1),
    "/": () => document.getElementById("q").select(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
})();
