// Enhancements of every page: keyboard shortcuts, selected rows for the bulk bar, dialogs in place, copying, and busy
// buttons. Each works without script too, or is hidden.
"use strict";

(() => {
  const GO_WITHIN = 1500; // ms between g and the second key
  const BUSY_AFTER = 300; // ms until a slow button is marked as busy
  const COPIED_FOR = 2000; // ms
  const copying = new WeakMap(); // the timer of each button that says what it did

  // The address contains the message about the last action; a reload must not show it again.
  function forgetWhatWasDone() {
    const here = new URL(location.href);
    if (!here.searchParams.has("done")) return;
    for (const name of ["done", "undo", "many"]) here.searchParams.delete(name);
    history.replaceState(history.state, "", here);
  }

  // ---------- Keys ----------

  let goingSince = 0;

  const rows = () => [...document.querySelectorAll("main tbody tr:not(.detail)")].filter((row) => row.querySelector("a[href]"));

  // What a row opens below itself belongs to the row.
  function currentRow() {
    const row = document.activeElement.closest("main tbody tr");
    return row?.classList.contains("detail") ? row.previousElementSibling : row;
  }

  function moveBy(step) {
    const all = rows();
    if (all.length === 0) return;
    const at = all.indexOf(currentRow());
    const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1);
    all[next].querySelector("a[href]").focus();
  }

  function search() {
    const field = document.querySelector("main input[type=search]") ?? document.querySelector(".find input");
    field?.select();
  }

  // A step of the current row, or of the one alert that the page shows: its button or link, else the row's question.
  function step(name) {
    const row = currentRow();
    const page = document.querySelector("main:not(:has(table.alerts)) #alert-steps");
    const detail = row?.classList.contains("open") ? row.nextElementSibling : null;
    const control = (detail ?? row ?? page)?.querySelector(`[data-act="${name}"]`);
    if (control) control.click();
    else if (row?.dataset[name]) ask({ href: row.dataset[name], focus: () => row.querySelector("a[href]")?.focus() });
  }

  const KEYS = {
    "/": search,
    "?": () => document.getElementById("shortcuts").showModal(),
    g: () => (goingSince = Date.now()),
    j: () => moveBy(1),
    k: () => moveBy(-1),
    x: () => currentRow()?.querySelector("input[type=checkbox]")?.click(),
    a: () => step("acknowledge"),
    s: () => step("silence"),
    e: () => step("close"),
  };

  function pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, dialog, [contenteditable]")) return;
    const going = Date.now() - goingSince < GO_WITHIN;
    goingSince = 0;
    if (going) {
      const link = document.querySelector(`.nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link === null) return;
      event.preventDefault();
      link.click();
    } else if (Object.hasOwn(KEYS, event.key)) {
      event.preventDefault();
      KEYS[event.key]();
    }
  }

  // ---------- Selected rows ----------

  const withPicks = new WeakMap(); // form -> updates its bulk bar

  function picks(form) {
    const boxesNow = () => [...form.querySelectorAll("tbody input[type=checkbox]")];
    function show() {
      const bar = form.querySelector("[data-bulk]");
      const all = form.querySelector("[data-pick-all]");
      const boxes = boxesNow();
      const picked = boxes.filter((box) => box.checked).length;
      bar.hidden = picked === 0;
      bar.querySelector("[data-bulk-count]").textContent = picked;
      bar.querySelector("[data-bulk-words]").textContent = "selected";
      for (const box of boxes) box.closest("tr").classList.toggle("sel", box.checked);
      if (all === null) return;
      all.checked = picked > 0 && picked === boxes.length;
      all.indeterminate = picked > 0 && picked < boxes.length;
    }
    form.addEventListener("change", ({ target }) => {
      if (target.matches("[data-pick-all]")) for (const box of boxesNow()) box.checked = target.checked;
      show();
    });
    withPicks.set(form, show);
    show();
    window.addEventListener("pageshow", show); // going back restores the checkboxes
  }

  // ---------- Dialogs ----------

  const words = (text) => text.trim().replace(/\s+/g, " "); // as they are shown: a page shows several blanks as one

  function typed(within) {
    const field = within.querySelector("[data-typed]");
    if (field === null) return;
    const button = field.form.querySelector(".dialog-foot button");
    const wait = () => (button.disabled = words(field.value) !== words(field.dataset.typed));
    field.addEventListener("input", wait);
    wait();
  }

  // Shows the page of a question as a dialog over the current page. If anything fails, the page itself is loaded.
  async function ask(link) {
    let question = null;
    try {
      const answer = await fetch(link.href);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      question = answer.ok && !answer.redirected ? page.querySelector("[data-dialog-body]") : null;
    } catch {
      question = null;
    }
    if (question === null) {
      location.assign(link.href);
      return;
    }
    const dialog = document.createElement("dialog");
    dialog.className = "over";
    dialog.setAttribute("aria-labelledby", "dlg-h");
    question.removeAttribute("aria-labelledby"); // the dialog has the name now
    dialog.append(document.adoptNode(question));
    dialog.addEventListener("close", () => {
      dialog.remove();
      link.focus();
    });
    document.body.append(dialog);
    typed(dialog);
    dialog.showModal();
    dialog.querySelector("[data-dialog-cancel]")?.focus();
  }

  function clicked(event) {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a[data-dialog]");
    const cancel = event.target.closest("dialog [data-dialog-cancel]");
    const copy = event.target.closest("[data-copy]");
    if (link !== null || cancel !== null) event.preventDefault();
    if (link !== null) ask(link);
    cancel?.closest("dialog").close();
    if (copy !== null) copyFrom(copy);
  }

  // ---------- Copying ----------

  async function copyFrom(button) {
    const source = document.getElementById(button.dataset.copy);
    const label = (button.dataset.label ??= button.getAttribute("aria-label"));
    const copied = await toClipboard(source);
    const said = copied ? "Copied" : "Press Ctrl+C";
    button.setAttribute("aria-label", said);
    button.dataset.said = said;
    button.classList.toggle("done", copied);
    clearTimeout(copying.get(button));
    copying.set(
      button,
      setTimeout(() => {
        button.setAttribute("aria-label", label);
        button.classList.remove("done");
        delete button.dataset.said;
      }, COPIED_FOR),
    );
  }

  // Over plain HTTP browsers offer no navigator.clipboard. The older command copies what is selected; where it is refused,
  // the text stays selected, so that Ctrl+C copies it.
  async function toClipboard(source) {
    const text = source.textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const asText = (event) => {
        event.clipboardData.setData("text/plain", text);
        event.preventDefault();
      };
      const selection = document.getSelection();
      selection.selectAllChildren(source);
      document.addEventListener("copy", asText);
      const copied = document.execCommand("copy");
      document.removeEventListener("copy", asText);
      if (copied) selection.removeAllRanges();
      return copied;
    }
  }

  // ---------- Busy buttons ----------

  // A form that downloads leaves its page as it is: nothing would end the mark.
  function submitted({ submitter, defaultPrevented, target }) {
    if (defaultPrevented || submitter === null || target.method !== "post" || target.hasAttribute("data-download")) return;
    setTimeout(() => submitter.setAttribute("aria-busy", "true"), BUSY_AFTER);
  }

  function settled() {
    for (const one of document.querySelectorAll("button[aria-busy]")) one.removeAttribute("aria-busy");
  }

  // ---------- Lists that change in place ----------

  // Morphing changes the initial state of checkboxes and selects, never the current one. But the rows are new, so none is
  // selected, and the filters must match the address. A form with data-keep is left as it was filled in.
  function settleBoxes() {
    for (const box of document.querySelectorAll("main form:not([data-keep]) :is([type=checkbox], [type=radio])")) {
      box.checked = box.defaultChecked;
    }
    for (const option of document.querySelectorAll("main form:not([data-keep]) option")) option.selected = option.defaultSelected;
  }

  function furnish() {
    for (const bar of document.querySelectorAll("form [data-bulk]")) {
      const form = bar.closest("form");
      const show = withPicks.get(form);
      if (show === undefined) picks(form);
      else show();
    }
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  }

  forgetWhatWasDone();
  if (document.documentElement.hasAttribute("data-shortcuts")) document.addEventListener("keydown", pressed);
  furnish();
  typed(document);
  // At once after the new rows are in the page, so that no click is lost between the two.
  document.addEventListener("htmx:before:settle", settleBoxes);
  document.addEventListener("htmx:after:swap", furnish);
  document.addEventListener("click", clicked);
  document.addEventListener("submit", submitted);
  window.addEventListener("pageshow", settled);
})();
