// The documents that were found, as cards. Knows hits; does not know how they came, or the answer.

import { requestBlob } from "./api.js";
import { disclosure, element, find, others, outwardLink, webAddress } from "./dom.js";
import { painted } from "./pictures.js";
import { showWhy } from "./why.js";

const SIDE = 160;
const LICENCE = ["license", "licence"];
const CREDIT = ["credit", "author", "source"];

// `asked`: {text, picture, trusted, …}, what the hits were found for.
export function showEvidence(hits, asked) {
  find("evidence").replaceChildren(...hits.map((hit) => element("li", {}, card(hit, asked))));
  const count = hits.length === 1 ? "1 document" : `${hits.length} documents`;
  find("evidence-state").textContent = hits.length ? "" : "No document was found.";
  return count;
}

// The shape of what is to come.
export function awaitEvidence(count) {
  const ghost = () => element("li", { class: "card ghost", "aria-hidden": "true" }, element("div", { class: "frame" }), element("div"));
  find("evidence").replaceChildren(...Array.from({ length: count }, ghost));
  find("evidence-state").textContent = "";
}

export function noEvidence() {
  for (const ghost of find("evidence").querySelectorAll(".ghost")) ghost.remove();
}

// The card of evidence [n], brought into view and focused.
export function focusEvidence(rank) {
  const card = find(`evidence-${rank}`);
  if (!card) return;
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}

// What the reader was not given, or not whole: {id or id#n: reason}. An id may itself end in #n.
export function showDropped(hits, dropped) {
  const ids = new Set(hits.map((hit) => hit.document.id));
  const owner = (key) => (ids.has(key) ? key : key.replace(/#\d+$/, ""));
  for (const hit of hits) {
    const reasons = Object.entries(dropped ?? {}).filter(([key]) => owner(key) === hit.document.id);
    const place = find(`evidence-${hit.rank}`)?.querySelector(".dropped");
    place?.replaceChildren(
      ...reasons.map(([key, reason]) =>
        element("p", {}, key === hit.document.id ? "Not read: " : "A picture was not read: ", others(reason)),
      ),
    );
  }
}

function card(hit, asked) {
  const { document: source, rank } = hit;
  const title = others(source.title || source.id);
  const name = element("h3", { id: `title-${rank}` }, title);
  if (source.section) name.append(" ", others(source.section, { class: "section" }));
  const head = element(
    "header", {},
    element("span", { class: "rank" }, element("span", { class: "unseen" }, "Document "), String(rank)),
    name,
    element("span", { class: "score" }, element("span", { class: "unseen" }, "score "), spelled(hit.score, "fused" in (hit.scores ?? {}) ? "fused" : "")),
  );
  const { shown, more } = text(hit);
  const body = element("div", { class: "body" }, head, shown, credits(source), stages(hit), element("div", { class: "dropped" }));
  const picture = hit.passage.image ?? source.images?.[0] ?? null;
  const why = disclosure("Why it matched", (panel) => showWhy(panel, hit, asked, picture), {
    class: "quiet", "aria-describedby": `title-${rank}`,
  });
  const frame = picture === null ? null : pictureOf(picture, source);
  const made = element(
    "article",
    { class: frame ? "card" : "card bare", id: `evidence-${rank}`, tabindex: "-1", "aria-labelledby": `title-${rank}` },
    frame, body, element("div", { class: "matched" }, more, ...(asked.trusted ? [why.button, why.panel] : [])),
  );
  return made;
}

function pictureOf(path, source) {
  const frame = element("div", { class: "frame" });
  requestBlob(path)
    .then((blob) => painted(blob, SIDE, `Picture of ${source.title || source.id}`))
    .then((canvas) => frame.replaceChildren(canvas))
    .catch(() => frame.replaceChildren(element("span", { class: "soft" }, "no picture")));
  return frame;
}

// Folded, the text begins where the passage that was found does; unfolded, that passage is marked.
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

// A passage has its document's title and section in front; one of a picture has nothing else.
function withoutHeading(text, { title, section }) {
  const heading = [title, section].filter(Boolean).join(" · ");
  return heading && text.startsWith(heading) ? text.slice(heading.length).trimStart() : text;
}

function credits(source) {
  const metadata = source.metadata ?? {};
  const line = element("p", { class: "credit soft" });
  const add = (...parts) => line.append(...(line.childNodes.length ? [" · "] : []), ...parts);
  for (const key of [...LICENCE, ...CREDIT]) {
    const value = metadata[key];
    if (value === null || value === undefined || value === "") continue;
    const address = webAddress(value);
    add(address ? outwardLink(address, address.host) : others(value));
  }
  const address = source.url ? webAddress(source.url) : null;
  if (address) add(outwardLink(address, address.host));
  return line;
}

// What is fused of two ranks is at most 2 / 61.
const spelled = (score, stage) => score.toFixed(stage === "fused" ? 4 : 2);

// Of one stage the score stands above already.
function stages({ scores }) {
  const all = Object.entries(scores ?? {});
  if (all.length < 2) return null;
  const said = all.map(([stage, score]) => `${stage} ${spelled(Number(score), stage)}`);
  return element("p", { class: "credit soft" }, said.join(" · "));
}
