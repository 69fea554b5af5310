// The page for an unreachable database retries every few seconds. It updates how full the broker's queue is, and loads
// the requested page as soon as that is available: until then nothing moves while somebody reads.
const retryNote = document.querySelector("[data-retry]"); // missing if the page replaced another page's content
const PERIOD = 1000 * Number(retryNote.dataset.retry);
retryNote.hidden = false;
const here = location.pathname + location.search;

async function again() {
  try {
    const answer = await fetch(here, { redirect: "manual" }); // under TLS by now, the address leads to another origin
    if (answer.status !== 503) {
      location.replace(here);
      return;
    }
    const newer = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#queue");
    if (newer) {
      document.querySelector("#queue").replaceWith(newer);
    }
  } catch {
    // The appliance itself is not reachable: it may come back.
  }
  setTimeout(again, PERIOD);
}

setTimeout(again, PERIOD);
