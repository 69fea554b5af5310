// Forms that the server redraws while a person fills them in (data-keep): what was typed since the request was sent stays,
// with focus and selection, however long the answer takes; an answer that does not have the form replaces nothing; and
// what was chosen before this script ran counts as if it was chosen now.
"use strict";

(() => {
  const FAILED = "redraw-failed"; // the note that says so
  let kept = null; // what the form under way had before it was replaced

  const all = (data, name) => JSON.stringify(data.getAll(name));

  // Those that a person fills in; controls of the preview belong to the form, too, but are not replaced with it.
  const fields = (form) =>
    [...form.elements].filter((one) => one.name && !["submit", "hidden"].includes(one.type) && form.contains(one));

  // The fields whose value is no longer the one that was sent.
  function typedSince(form, sent) {
    const now = new FormData(form);
    const names = new Set(fields(form).map((control) => control.name));
    return new Map([...names].filter((name) => all(now, name) !== all(sent, name)).map((name) => [name, now.getAll(name)]));
  }

  // Says that fields have changed, once each. Of radio buttons the chosen one says it.
  function tell(form, names) {
    for (const name of names) {
      const control = fields(form).find((one) => one.name === name && (one.type !== "radio" || one.checked));
      control?.dispatchEvent(new Event("change", { bubbles: true }));
    }
  }

  function focusIn(form) {
    const focused = document.activeElement;
    if (!form.contains(focused) || focused === form) return null;
    const { id, name, value, type } = focused;
    let range = null;
    try {
      range = [focused.selectionStart, focused.selectionEnd];
    } catch {
      // some types have no selection
    }
    return { id, name, value: isBox(focused) ? value : null, type, range };
  }

  function refill(form, typed) {
    for (const [name, values] of typed) {
      const controls = fields(form).filter((control) => control.name === name);
      controls.forEach((control, index) => {
        if (isBox(control)) control.checked = values.includes(control.value);
        else if (control.tagName !== "SELECT") control.value = values[index] ?? control.value;
        else if ([...control.options].some((option) => option.value === values[index])) control.value = values[index];
      });
    }
  }

  function refocus(form, was) {
    const controls = fields(form);
    const again =
      controls.find((one) => was.id && one.id === was.id) ??
      controls.find((one) => was.name && one.name === was.name && (was.value === null || one.value === was.value));
    if (again === undefined) return;
    if (document.activeElement !== again) again.focus({ preventScroll: true });
    if (was.range !== null && was.range[0] !== null && again.type === was.type) again.setSelectionRange(...was.range);
  }

  // Whether the answer is another page than the one that was asked for, as the sign-in, or lacks what it was asked for.
  function isOther({ request, response, target }, fragment) {
    const { redirected, url } = response.raw;
    if (redirected && new URL(url).pathname !== new URL(request.action, document.baseURI).pathname) return true;
    return target.id !== "" && fragment.querySelector(`#${CSS.escape(target.id)}`) === null;
  }

  // Whether the person has signed in again since the request was sent: what it was refused for is over.
  function isOfEndedSession({ body }) {
    const sent = body instanceof FormData || body instanceof URLSearchParams ? body.get("csrf_token") : null;
    return sent !== null && sent !== document.querySelector('meta[name="csrf-token"]').content;
  }

  // A list goes where the answer came from; a form stays as it is, and says why.
  function answeredOtherwise({ request, target }) {
    if (isOfEndedSession(request)) return;
    document.dispatchEvent(new Event("appliance:unanswered"));
    const form = document.querySelector("form[data-keep]");
    if (form === null) location.assign(request.action);
    if (form === null || document.getElementById(FAILED) !== null) return;
    const note = document.createElement("p");
    note.id = FAILED;
    note.dataset.target = target.id;
    note.className = "note crit";
    note.setAttribute("role", "alert");
    const link = document.createElement("a");
    Object.assign(link, { href: "/sign-in", target: "_blank", rel: "noopener", textContent: "Sign in in another tab" });
    const text = document.createElement("span");
    text.append("The form cannot be updated; you may be signed out. What you typed is kept here. ", link, ", then go on.");
    note.append(text);
    form.before(note);
  }

  // Who signed in again in another tab goes on with the token of the new session.
  async function goOn() {
    if (document.getElementById(FAILED) === null) return;
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const token = page.querySelector('meta[name="csrf-token"]')?.content;
    if (!answer.ok || answer.redirected || token === undefined) return;
    for (const field of document.querySelectorAll('input[name="csrf_token"]')) field.value = token;
    document.querySelector('meta[name="csrf-token"]').content = token;
    document.getElementById(FAILED)?.remove();
  }

  window.addEventListener("focus", () => goOn().catch(() => {})); // the appliance is away: the note stays

  // Without a session, a part of a page is answered with the way to the sign-in, for the whole page.
  document.addEventListener("htmx:before:response", (event) => {
    const { ctx } = event.detail;
    if (!ctx.response.headers.has("HX-Redirect") || document.querySelector("form[data-keep]") === null) return;
    event.preventDefault();
    answeredOtherwise(ctx);
  });

  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx, tasks } = event.detail;
    const main = tasks.find((task) => task.type === "main");
    kept = null;
    if (main === undefined) return;
    if (isOther(ctx, main.fragment)) {
      event.preventDefault();
      answeredOtherwise(ctx);
      return;
    }
    const note = document.getElementById(FAILED);
    if (note?.dataset.target === ctx.target.id) note.remove();
    const form = main.target;
    if (!(form instanceof HTMLFormElement) || !form.hasAttribute("data-keep")) return;
    kept = { id: form.id, typed: typedSince(form, ctx.request.body), focus: focusIn(form) };
  });

  // At once after the new form is in the page, so that no key is lost between the two.
  document.addEventListener("htmx:before:settle", () => {
    const form = kept && document.getElementById(kept.id);
    if (!form) return;
    refill(form, kept.typed);
    if (kept.focus !== null) refocus(form, kept.focus);
  });

  // What was typed meanwhile is told to the form, as if it was typed now: it is redrawn again where that needs it.
  document.addEventListener("htmx:after:swap", () => {
    const form = kept && document.getElementById(kept.id);
    const typed = kept?.typed;
    kept = null;
    if (!form) return;
    tell(form, typed.keys());
  });

  function tellOfChanges() {
    for (const form of document.querySelectorAll("form[data-keep]")) {
      tell(form, new Set(fields(form).filter(isChanged).map((control) => control.name)));
    }
  }

  // Chosen while the scripts were on their way, or put back by the browser, which says nothing of it. htmx listens from
  // a timer on, which it set before.
  window.addEventListener("load", () => setTimeout(tellOfChanges));
})();
