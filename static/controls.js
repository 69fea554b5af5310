// What redraw.js and tls.js both ask of the controls of a form.
"use strict";

const isBox = (control) => ["checkbox", "radio"].includes(control.type);

// Whether a person, or the browser on the way back, has changed what the server sent; of a button nobody can.
function isChanged(control) {
  if (isBox(control)) return control.checked !== control.defaultChecked;
  if (control.tagName !== "SELECT") return "defaultValue" in control && control.value !== control.defaultValue;
  const usual = [...control.options].find((option) => option.defaultSelected) ?? control.options[0];
  return usual !== undefined && control.value !== usual.value;
}
