// The browser knows its time zone: choose it in the list, unless somebody has chosen already.
const zones = document.querySelector("select[data-guess]");
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zones && [...zones.options].some((option) => option.value === here)) {
  zones.value = here;
}
