// A link to the answer, shown while the answer lies below the window's edge, under its documents.
// Knows where the answer is; does not know its text.

import { find } from "./dom.js";

const VISIBLE = 80; // pixels of the answer that must be in the window

export function startAnswerLink() {
  const update = () => {
    const { top } = find("answers").getBoundingClientRect();
    find("to-answer").hidden = find("results").hidden || top < innerHeight - VISIBLE;
  };
  addEventListener("scroll", update, { passive: true });
  addEventListener("resize", update);
  new ResizeObserver(update).observe(find("results"));
}
