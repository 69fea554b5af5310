// Preselects the time zone of the browser, if the list has it.
const zones = document.querySelector("select[data-guess]");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zones && [...zones.options].some((option) => option.value === here)) {
  zones.value = here;
}
