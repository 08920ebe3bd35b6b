// The way to an answer that stands below the edge of the window, behind its documents.
// Knows where the answer is; does not know what it says.

import { find } from "./dom.js";

export function watchAnswer() {
  const watch = new IntersectionObserver(([seen]) => {
    const below = !seen.isIntersecting && seen.boundingClientRect.top > 0;
    find("to-answer").hidden = !below || find("results").hidden;
  });
  watch.observe(find("answers"));
}
