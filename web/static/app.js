"use strict";
// The console works without this file; with it pages stay live, times are local and small things are quicker.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Times: the server writes UTC; we write the reader's zone, and let ages run.
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const dayOfYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  const date = (at, today) => (at.getFullYear() === today.getFullYear() ? day : dayOfYear).format(at);
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
  let skew = 0; // our clock minus the server's, seconds

  function duration(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
    return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
  }

  function writeTimes(root, now = Date.now()) {
    for (const time of all("time[data-as]", root)) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const age = (now - at) / 1000 - skew;
      let text;
      if (time.dataset.as === "age") text = duration(age);
      else if (time.dataset.as === "left") text = age >= 0 ? "now" : `in ${duration(-age)}`;
      else text = (new Date(now).toDateString() === at.toDateString() ? "" : `${date(at, new Date(now))}, `) + clock.format(at);
      if (time.textContent !== text) time.textContent = text;
      if (!time.title) time.title = full.format(at);
    }
  }

  // Morph: make `from` equal to `to` with as few changes as possible, so focus, selection and open details stay.
  const key = (node) => node.nodeType === 1 ? node.id || node.dataset.key || "" : "";
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

  function morph(from, to) {
    if (from.nodeType !== 1) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    const keepsOpen = from.nodeName === "DETAILS";
    for (const { name, value } of [...to.attributes]) {
      if (name.startsWith("on") || (keepsOpen && name === "open")) continue;
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && !(keepsOpen && name === "open") && name !== "title") from.removeAttribute(name);
    }
    if (from.matches("input, textarea, select")) return; // what is being typed belongs to the person
    const keyed = new Map();
    for (const child of from.children) if (key(child)) keyed.set(key(child), child);
    let cursor = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let found = null;
      if (cursor && alike(cursor, wanted)) found = cursor;
      else if (key(wanted) && keyed.has(key(wanted)) && alike(keyed.get(key(wanted)), wanted)) found = keyed.get(key(wanted));
      if (found) {
        if (found === cursor) cursor = cursor.nextSibling;
        else from.insertBefore(found, cursor);
        morph(found, wanted);
      } else {
        from.insertBefore(document.importNode(wanted, true), cursor);
      }
    }
    while (cursor) {
      const next = cursor.nextSibling;
      cursor.remove();
      cursor = next;
    }
  }

  // Fetch a page as a document: no string becomes markup here, so Trusted Types need no policy.
  function load(address) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", address);
      request.responseType = "document";
      request.timeout = 15000;
      request.setRequestHeader("Accept", "text/html");
      request.setRequestHeader("X-Ikegate-Refresh", "1");
      request.onload = () => {
        const path = new URL(request.responseURL).pathname;
        if (path !== new URL(address, location.href).pathname) location.assign(address); // signed out: go there
        else if (request.response && request.status < 500) resolve(request.response);
        else reject(new Error(`answer ${request.status}`));
      };
      request.onerror = request.ontimeout = () => reject(new Error("no answer"));
      request.send();
    });
  }

  const badge = $("#live");
  let seen = badge ? new Date(badge.dataset.at) : null; // when the data on the page was true, server's clock
  if (seen) skew = (Date.now() - seen) / 1000;
  let streaming = false;
  let answering = true;

  function showLiveness() {
    if (!badge) return;
    const live = streaming && answering;
    const text = live ? "Live" : `Reconnecting (data from ${clock.format(seen)})`;
    badge.dataset.state = live ? "live" : "stale";
    if (badge.textContent !== text) badge.textContent = text;
    document.documentElement.classList.toggle("stale", !live);
  }

  let busy = false;
  let again = false;
  let last = performance.now();

  async function refresh() {
    if (document.hidden) return;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const fresh = await load(location.pathname + location.search);
      const stamp = $("#live", fresh);
      if (!stamp) { // what the page shows is gone: show what the gateway says now
        location.assign(location.href);
        return;
      }
      seen = new Date(stamp.dataset.at);
      skew = (Date.now() - seen) / 1000;
      writeTimes(fresh);
      for (const region of all("[data-live]")) {
        const wanted = fresh.getElementById(region.id);
        if (wanted) morph(region, wanted);
      }
      if (fresh.title && document.title !== fresh.title) document.title = fresh.title;
      prepare(document);
      answering = true;
    } catch {
      answering = false;
    }
    last = performance.now();
    busy = false;
    showLiveness();
    if (again) { again = false; soon(); }
  }

  let timer = 0;
  function soon(wait = 150) {
    clearTimeout(timer);
    timer = setTimeout(refresh, Math.max(wait, 700 - (performance.now() - last)));
  }

  // One stream a page, closed while nobody looks: a browser grants six connections to a host.
  let stream = null;
  function follow() {
    if (document.hidden || !$("[data-live]")) {
      stream?.close();
      stream = null;
      return;
    }
    if (stream) return;
    stream = new EventSource("/events/stream");
    stream.onopen = () => { streaming = true; showLiveness(); soon(0); };
    stream.addEventListener("changed", () => soon());
    stream.onerror = () => {
      streaming = false;
      showLiveness();
      if (stream?.readyState === EventSource.CLOSED) { stream = null; setTimeout(follow, 3000); }
    };
  }

  // Small things
  function prepare(root) {
    for (const button of all("button[data-copy]", root)) button.hidden = false;
    for (const element of all("[data-script-only]", root)) element.hidden = false;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      if (source.select) source.select();
      else getSelection().selectAllChildren(source);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });

  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
    for (const button of all("[aria-busy]")) button.removeAttribute("aria-busy");
    refresh();
  });

  let typing = 0;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-instant]");
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
      refresh();
    }, 200);
  });

  // Fields that belong to a choice are shown with it.
  function showChosen() {
    for (const part of all("[data-when]")) {
      const [names, values] = part.dataset.when.split("=").map((side) => side.split(/[|,]/));
      const fields = names.map((name) => $(`[name="${name}"]:checked`) || $(`select[name="${name}"]`)).filter(Boolean);
      if (fields.length) part.hidden = !fields.some((field) => values.includes(field.value));
    }
  }
  document.addEventListener("change", showChosen);

  // The setup token comes in the fragment, which no server log sees.
  const token = $("input[data-token]");
  if (token && location.hash.startsWith("#token=")) {
    token.value = decodeURIComponent(location.hash.slice(7));
    history.replaceState(null, "", location.pathname);
    token.closest(".field").hidden = true;
    const note = $("#token-note");
    if (note) note.hidden = false;
  }

  prepare(document);
  showChosen();
  writeTimes(document);
  setInterval(() => { if (!document.hidden) writeTimes(document); }, 1000);
  if (badge && $("[data-live]")) {
    follow();
    document.addEventListener("visibilitychange", () => { follow(); if (!document.hidden) soon(0); });
    setInterval(() => { if (!document.hidden && performance.now() - last > 4000) refresh(); }, 1000);
    addEventListener("pagehide", () => { stream?.close(); stream = null; });
  }
})();
