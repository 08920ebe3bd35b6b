// Shows the retrieved documents as cards. Knows hits; does not know how they were found, nor the
// answer.

import { requestBlob } from "./api.js";
import { disclosure, element, find, untrustedText } from "./dom.js";
import { citation, credits, facts } from "./origin.js";
import { drawPicture } from "./pictures.js";
import { showExplanation } from "./explanation.js";

const SIDE = 160;

// `question`: {text, picture, trusted, …}, for which the hits were found.
export function showEvidence(hits, question) {
  find("evidence").replaceChildren(...hits.map((hit) => element("li", {}, card(hit, question))));
  const count = hits.length === 1 ? "1 document" : `${hits.length} documents`;
  find("evidence-state").textContent = hits.length ? "" : "No document was found.";
  return count;
}

// Placeholders for the cards to come.
export function awaitEvidence(count) {
  const ghost = () => element("li", { class: "card ghost", "aria-hidden": "true" }, element("div", { class: "frame" }), element("div"));
  find("evidence").replaceChildren(...Array.from({ length: count }, ghost));
  find("evidence-state").textContent = "";
}

export function noEvidence() {
  for (const ghost of find("evidence").querySelectorAll(".ghost")) ghost.remove();
}

// Scrolls to the card of evidence [n] and focuses it.
export function focusEvidence(rank) {
  const card = find(`evidence-${rank}`);
  if (!card) return;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

// Marks what the prompt left out, wholly or in part: {id or id#n: reason}. An id may itself end in #n.
export function showDropped(hits, dropped) {
  const ids = new Set(hits.map((hit) => hit.document.id));
  const owner = (key) => (ids.has(key) ? key : key.replace(/#\d+$/, ""));
  for (const hit of hits) {
    const reasons = Object.entries(dropped ?? {}).filter(([key]) => owner(key) === hit.document.id);
    const place = find(`evidence-${hit.rank}`)?.querySelector(".dropped");
    place?.replaceChildren(
      ...reasons.map(([key, reason]) =>
        element("p", {}, key === hit.document.id ? "Not read: " : "A picture was not read: ", untrustedText(reason)),
      ),
    );
  }
}

function card(hit, question) {
  const { document: source, rank } = hit;
  const title = untrustedText(source.title || source.id);
  const name = element("h3", { id: `title-${rank}` }, title);
  if (source.section) name.append(" ", untrustedText(source.section, { class: "section" }));
  const head = element(
    "header", {},
    element("span", { class: "rank" }, element("span", { class: "unseen" }, "Document "), String(rank)),
    name,
    element("span", { class: "score" }, element("span", { class: "unseen" }, "score "), formatScore(hit.score, "fused" in (hit.scores ?? {}) ? "fused" : "")),
  );
  const { shown, more } = text(hit);
  const body = element("div", { class: "body" }, head, shown, facts(hit), citation(source), credits(hit), stages(hit), element("div", { class: "dropped" }));
  const picture = hit.passage.image ?? source.images?.[0] ?? null;
  const why = disclosure("Why it matched", (panel) => showExplanation(panel, hit, question, picture), {
    class: "quiet", "aria-describedby": `title-${rank}`,
  });
  const frame = picture === null ? null : pictureOf(picture, source);
  const made = element(
    "article",
    { class: frame ? "card" : "card bare", id: `evidence-${rank}`, tabindex: "-1", "aria-labelledby": `title-${rank}` },
    frame, body, element("div", { class: "matched" }, more, ...(question.trusted ? [why.button, why.panel] : [])),
  );
  return made;
}

function pictureOf(path, source) {
  const frame = element("div", { class: "frame" });
  requestBlob(path)
    .then((blob) => drawPicture(blob, SIDE, `Picture of ${source.title || source.id}`))
    .then((canvas) => frame.replaceChildren(canvas))
    .catch(() => frame.replaceChildren(element("span", { class: "soft" }, "no picture")));
  return frame;
}

// Folded, the text begins at the matching passage; unfolded, that passage is highlighted.
function text({ document: source, passage }) {
  const whole = source.text || passage.text;
  if (!whole) return { shown: null, more: null };
  const window = withoutHeading(passage.text, source);
  const part = window !== "" && window.length < whole.length && whole.includes(window);
  const start = part ? whole.indexOf(window) : 0;
  const end = start + window.length;
  const shown = element("p", { class: "text folded" });
  const more = element("button", { type: "button", class: "quiet", "aria-expanded": "false" }, "Whole text");
  const draw = (open) => {
    shown.classList.toggle("folded", !open);
    const pieces = part && open
      ? [whole.slice(0, start), element("span", { class: "found" }, whole.slice(start, end)), whole.slice(end)]
      : [open || !part || start === 0 ? whole : `… ${whole.slice(start)}`];
    shown.replaceChildren(element("bdi", {}, ...pieces));
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Less text" : "Whole text";
  };
  more.addEventListener("click", () => draw(shown.classList.contains("folded")));
  draw(false);
  new ResizeObserver(() => {
    if (shown.classList.contains("folded")) more.hidden = shown.scrollHeight <= shown.clientHeight + 1 && start === 0;
  }).observe(shown);
  return { shown, more };
}

// A passage begins with its document's title and section; that of a picture has nothing else.
function withoutHeading(text, { title, section }) {
  const heading = [title, section].filter(Boolean).join(" · ");
  return heading && text.startsWith(heading) ? text.slice(heading.length).trimStart() : text;
}

// A score fused from two ranks is at most 2 / 61.
const formatScore = (score, stage) => score.toFixed(stage === "fused" ? 4 : 2);

// The card shows the score of a single stage already.
function stages({ scores }) {
  const all = Object.entries(scores ?? {});
  if (all.length < 2) return null;
  const parts = all.map(([stage, score]) => `${stage} ${formatScore(Number(score), stage)}`);
  return element("p", { class: "credit soft" }, parts.join(" · "));
}
