// Keeps the page up to date: a WebSocket sends elements by id, which are morphed in place so that focus, selection and
// scroll positions are kept. Without this script the page shows its time and a Refresh link.
"use strict";

(() => {
  const SILENCE = 5000; // ms without an update after which the banner says how old the numbers are
  const FIRST_WAIT = 500; // ms before the first new connection
  const LAST_WAIT = 15000; // ms between connections at most
  const SIGNED_OUT = 4401; // the close code when the session has ended

  const asked = () => document.getElementById("main").dataset.page;
  let page = asked();
  let socket = null;
  let again = 0; // the timer of the next connection
  let heard = Date.now();
  let wait = FIRST_WAIT;

  const late = new Map(); // id -> the new content of an element, applied once nobody uses the old one

  const targets = (element) => [...element.querySelectorAll("a[href]")].map((link) => link.getAttribute("href")).join(" ");

  // An element that somebody copies from does not change until they are done; links under the pointer do not move.
  function held(old, fresh, selection) {
    const moves = old.hasAttribute("data-still") && targets(old) !== targets(fresh);
    return selection?.containsNode(old, true) || (moves && old.matches(":hover, :focus-within"));
  }

  function morphAttributes(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name); // what a person opened stays open
    }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }

  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    morphAttributes(old, fresh);
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    after.forEach((child, index) => {
      if (index < before.length) morph(before[index], child);
      else old.append(document.importNode(child, true));
    });
    before.slice(after.length).forEach((child) => child.remove());
  }

  function update(html) {
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    for (const fresh of parsed.content.children) late.set(fresh.id, fresh);
    catchUp();
  }

  // Reads first, writes then: to ask for the selection lays the page out, and again after each change of it.
  function catchUp() {
    if (late.size === 0) return;
    const selection = document.getSelection();
    const selected = selection === null || selection.isCollapsed ? null : selection;
    const due = [...late].filter(([id, fresh]) => {
      const old = document.getElementById(id);
      return old === null || !held(old, fresh, selected);
    });
    for (const [id, fresh] of due) {
      late.delete(id);
      const old = document.getElementById(id);
      if (old !== null) morph(old, fresh);
    }
  }

  function showSilence() {
    const lost = document.getElementById("live-lost");
    if (lost === null) return; // a page without a banner
    const age = Date.now() - heard;
    lost.hidden = age < SILENCE;
    document.documentElement.toggleAttribute("data-silent", !lost.hidden);
    if (!lost.hidden) lost.querySelector("[data-age]").textContent = `${Math.floor(age / 1000)} s`;
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(`${scheme}//${location.host}/live?page=${encodeURIComponent(page)}`);
    socket = mine;
    mine.onmessage = (message) => {
      if (mine !== socket) return; // another page is shown by now
      heard = Date.now();
      wait = FIRST_WAIT;
      update(message.data);
      showSilence();
    };
    mine.onclose = ({ code }) => {
      if (mine !== socket) return;
      if (code === SIGNED_OUT) {
        location.reload(); // to the sign-in
        return;
      }
      document.dispatchEvent(new Event("appliance:unanswered"));
      again = setTimeout(connect, wait * (0.75 + Math.random() / 2)); // with jitter, so that pages do not reconnect all at once
      wait = Math.min(wait * 2, LAST_WAIT);
    };
  }

  // A list or page that changed in place may have another live page now.
  function follow() {
    if (asked() === page) return;
    page = asked();
    late.clear();
    clearTimeout(again);
    const before = socket;
    socket = null;
    before?.close();
    heard = Date.now();
    if (page !== undefined) connect(); // an error page is not live
  }

  document.addEventListener("htmx:after:swap", follow);
  setInterval(() => {
    catchUp();
    showSilence();
  }, 1000);
  connect();
})();
