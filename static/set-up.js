// Preselects the time zone of the browser, if the list has it.
const zones = document.querySelector("select[data-guess]");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
// Browsers call some zones by an old name; the server says which.
const named = [...(zones?.options ?? [])].find((option) =>
  option.value === here || (option.dataset.was ?? "").split(" ").includes(here));
if (named) zones.value = named.value;
