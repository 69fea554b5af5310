// Follows the appliance to TLS. When that is turned on while a page is open over plain HTTP, nothing of the page works any
// more: its live updates are refused, and a script may not follow the redirect of what it asks for. The page's own address
// leads on, so it is loaded again; a form that somebody has filled in stays, and a note says what to do.
"use strict";

(() => {
  const NOTE = "tls-note";
  const AGAIN_AFTER = 60000; // ms after an answer that did not lead elsewhere
  let next = 0; // when to ask again

  const here = () => location.pathname + location.search; // with its fragment it would be a jump within the page

  // What the server has refused stands in the form as if nobody had typed it.
  const isFilledIn = () =>
    [...document.querySelectorAll("form[method=post]")].some(
      (form) => [...form.elements].some(isChanged) || form.querySelector("[aria-invalid]") !== null,
    );

  const ask = (url) => fetch(url, { method: "HEAD", redirect: "manual", cache: "no-store" });

  // Whether the appliance sends this page elsewhere, and refuses live updates over plain HTTP. Where it only does the one,
  // somebody is signed out, or a proxy is in between.
  async function leadsElsewhere() {
    try {
      return (await ask(location.href)).type === "opaqueredirect" && (await ask("/live")).status === 403;
    } catch {
      next = 0;
      return false; // the appliance is away, as it is while it starts again
    }
  }

  function tell() {
    if (document.getElementById(NOTE) !== null) return;
    const note = document.createElement("p");
    note.id = NOTE;
    note.className = "note crit";
    note.setAttribute("role", "alert");
    const link = document.createElement("a");
    Object.assign(link, { href: here(), textContent: "load this page again" });
    const text = document.createElement("span");
    text.append("The appliance is under TLS now and takes nothing from this page. Copy what you typed, then ");
    text.append(link, ".");
    note.append(text);
    // What lies below a dialog can be neither read nor clicked.
    (document.querySelector("dialog[open] .dialog-body") ?? document.getElementById("main")).prepend(note);
  }

  async function failed() {
    if (Date.now() < next) return;
    next = Date.now() + AGAIN_AFTER;
    if (!(await leadsElsewhere())) return;
    if (isFilledIn()) tell();
    else location.replace(here()); // a reload would send a form again
  }

  if (location.protocol !== "http:") return;
  document.addEventListener("appliance:unanswered", failed); // told by our own scripts
  document.addEventListener("htmx:error", failed);
})();
