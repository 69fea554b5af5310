// The form of a renewal, on its page or in a dialog over another: what it would do follows the fields, the list of
// devices follows the search, and the button waits until exactly as many are chosen as must stop. Without script the
// same form is sent by its buttons, and the server answers with the next page.
"use strict";

(() => {
  const AFTER_TYPING = 250; // ms
  const forms = new WeakMap(); // form -> what is chosen, and the request under way

  const formOf = (target) => target.closest?.("form[data-renewal]") ?? null;
  const boxes = (form) => [...form.querySelectorAll('input[name="device"]')];
  const field = (form, name) => form.querySelector(`input[type="hidden"][name="${name}"]`);
  const ids = (input) => (input === null ? [] : input.value.split(" ").filter((id) => id !== ""));

  // What is chosen is kept here, so that an answer that was asked for before a click does not undo the click.
  function stateOf(form) {
    let state = forms.get(form);
    if (state === undefined) {
      const ticked = boxes(form).filter((box) => box.checked).map((box) => box.value);
      state = { chosen: new Set([...ids(field(form, "chosen")), ...ticked]), timer: 0, asked: null };
      forms.set(form, state);
    }
    return state;
  }

  function words(needed, chosen) {
    const missing = needed - chosen;
    const number = Math.abs(missing).toLocaleString("en");
    if (missing > 0) return `Choose ${number} ${chosen ? "more " : ""}device${missing === 1 ? "" : "s"} to continue.`;
    return missing < 0 ? `Choose ${number} fewer to continue.` : "";
  }

  // Shows how many are chosen; the button waits for the right number, and says so.
  function count(form) {
    const { chosen } = stateOf(form);
    const needed = Number(form.querySelector("#renewal-pick")?.dataset.needed ?? 0);
    const why = form.querySelector("#renewal-why");
    const go = form.querySelector("[data-renewal-go]");
    if (why === null || go === null) return;
    for (const box of boxes(form)) {
      box.checked = chosen.has(box.value);
      box.closest(".pick-row").classList.toggle("on", box.checked);
    }
    if (needed > 0) {
      const shown = new Set(boxes(form).map((box) => box.value));
      field(form, "chosen").value = [...chosen].filter((id) => !shown.has(id)).join(" ");
      form.querySelector("[data-renewal-count]").textContent =
        `${chosen.size.toLocaleString("en")} of ${needed.toLocaleString("en")} chosen`;
      form.querySelector("[data-renewal-bar]").setAttribute("width", `${Math.min(100, (100 * chosen.size) / needed)}%`);
      why.textContent = words(needed, chosen.size);
    }
    if (why.textContent.trim() === "") go.removeAttribute("aria-disabled");
    else go.setAttribute("aria-disabled", "true");
  }

  // Sends the form and takes over what has changed. The fields themselves stay, and with them what is being typed.
  async function refresh(form, step) {
    const state = stateOf(form);
    clearTimeout(state.timer);
    state.asked?.abort();
    const asked = (state.asked = new AbortController());
    const body = new URLSearchParams(new FormData(form));
    body.set("step", step);
    let page = null;
    try {
      const answer = await fetch(form.action, { method: "POST", body, signal: asked.signal });
      page = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("form[data-renewal]");
    } catch {
      if (!asked.signal.aborted) document.dispatchEvent(new Event("appliance:unanswered"));
      return; // another one is under way, or the appliance is away: the button asks again
    }
    if (page === null || state.asked !== asked) return;
    if (step === "longest") {
      const ticked = boxes(page).filter((box) => box.hasAttribute("checked")).map((box) => box.value);
      state.chosen = new Set([...ids(field(page, "chosen")), ...ticked]);
    }
    const focused = document.activeElement;
    const again = form.contains(focused) ? { id: focused.id, name: focused.name, value: focused.value } : null;
    const caret = focused?.id === "renewal-find" ? focused.selectionStart : null;
    for (const part of form.querySelectorAll("[data-renewal-part]")) {
      const fresh = page.querySelector(`#${part.id}`);
      if (fresh === null || fresh.innerHTML === part.innerHTML) continue;
      part.replaceChildren(...document.adoptNode(fresh).childNodes);
      if (fresh.dataset.needed !== undefined) part.dataset.needed = fresh.dataset.needed;
    }
    if (again !== null && !document.contains(focused)) {
      const there = again.id
        ? form.querySelector(`#${CSS.escape(again.id)}`)
        : [...form.elements].find((one) => one.name === again.name && one.value === again.value);
      there?.focus();
      if (caret !== null && there !== null) {
        there.value = again.value;
        there.setSelectionRange(caret, caret);
      }
    }
    count(form);
  }

  function later(form, step) {
    const state = stateOf(form);
    clearTimeout(state.timer);
    state.timer = setTimeout(refresh, AFTER_TYPING, form, step);
  }

  function changed({ target }) {
    const form = formOf(target);
    if (form === null) return;
    const { chosen } = stateOf(form);
    if (target.name === "device") {
      if (target.checked) chosen.add(target.value);
      else chosen.delete(target.value);
      count(form);
    } else if (target.name !== "q") later(form, "find");
  }

  function typed({ target }) {
    const form = formOf(target);
    if (form !== null && (target.name === "q" || target.name === "new_device_limit")) later(form, "find");
  }

  function sent(event) {
    const form = formOf(event.target);
    if (form === null) return;
    const step = event.submitter?.value;
    if (step === "find" || step === "longest") {
      event.preventDefault();
      refresh(form, step);
    } else if (event.submitter?.getAttribute("aria-disabled") === "true") event.preventDefault();
  }

  function start() {
    for (const form of document.querySelectorAll("form[data-renewal]")) count(form);
  }

  document.addEventListener("change", changed);
  document.addEventListener("input", typed);
  document.addEventListener("submit", sent, true);
  window.addEventListener("pageshow", start);
  new MutationObserver((changes) => {
    if (changes.some(({ addedNodes }) => [...addedNodes].some((node) => node.querySelector?.("form[data-renewal]")))) start();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
