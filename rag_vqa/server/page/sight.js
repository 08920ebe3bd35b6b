// The way to an answer that stands below the edge of the window, behind its documents.
// Knows where the answer is; does not know what it says.

import { find } from "./dom.js";

const SEEN = 80; // pixels of it that are to be in the window

export function watchAnswer() {
  const look = () => {
    const { top } = find("answers").getBoundingClientRect();
    find("to-answer").hidden = find("results").hidden || top < innerHeight - SEEN;
  };
  addEventListener("scroll", look, { passive: true });
  addEventListener("resize", look);
  new ResizeObserver(look).observe(find("results"));
}
