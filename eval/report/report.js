// Filters the failures that the page holds. Knows attributes; no text of others passes through it.
"use strict";
const list = document.getElementById("failures");
if (list) {
  const all = [...list.querySelectorAll("details")];
  const byCell = document.getElementById("by-cell");
  const byCause = document.getElementById("by-cause");
  const words = document.getElementById("by-words");
  const count = document.getElementById("count");
  const shown = () => all.filter((one) => !one.hidden);
  const filter = () => {
    const wanted = words.value.toLowerCase().trim();
    for (const one of all) {
      one.hidden =
        (byCell.value !== "" && one.dataset.cell !== byCell.value) ||
        (byCause.value !== "" && one.dataset.cause !== byCause.value) ||
        (wanted !== "" && !one.textContent.toLowerCase().includes(wanted));
    }
    count.textContent = String(shown().length);
  };
  for (const input of [byCell, byCause, words]) input.addEventListener("input", filter);
  // A picture is in the page once: the large one takes the small one's.
  for (const one of all) {
    const enlarge = () => {
      const large = one.querySelector("img.large");
      if (large) large.src = one.querySelector("img.thumb").src;
    };
    one.addEventListener("toggle", enlarge);
    if (one.open) enlarge();
  }
  // A cell of the table of causes leads to its failures.
  for (const link of document.querySelectorAll("a[data-cause]")) {
    link.addEventListener("click", () => {
      byCell.value = link.dataset.cell;
      byCause.value = link.dataset.cause;
      words.value = "";
      filter();
    });
  }
  // j and k go through what is shown, as in many readers of lists.
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { j: 1, k: -1 }[event.key];
    if (!step) return;
    const summaries = shown().map((one) => one.querySelector("summary"));
    const here = summaries.indexOf(document.activeElement);
    const next = summaries[here < 0 ? 0 : here + step];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  });
  filter();
}
