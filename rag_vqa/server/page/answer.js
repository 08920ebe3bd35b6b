// Shows one answer while it is written: its text with citations, how it ended, and its seconds.
// Knows the events of one answer; does not know where they come from.

import { element, find, untrustedText } from "./dom.js";
import { focusEvidence } from "./evidence.js";

const CITATION = /\[(\d{1,3})\]/g;

// The place of one answer. `title` stands above it if two answers are shown.
export function answerPlace(title) {
  const heading = element("h3", {}, title);
  const text = element("div", { class: "said" });
  const state = element("p", { class: "state soft" });
  const root = element("article", { class: "answer", "aria-busy": "true" }, heading, text, state);
  let written = "";
  let thoughts = "";
  let cited = null; // a function: number → rank of its document, or null

  const draw = () => text.replaceChildren(...withCitations(written, cited));
  return {
    root,
    text: () => written,
    wait(what) {
      root.classList.add("waiting");
      state.textContent = what;
    },
    cite(ranks) {
      cited = (number) => ranks[number - 1] ?? null;
    },
    add(piece) {
      root.classList.remove("waiting");
      state.textContent = "";
      written += piece;
      draw();
    },
    think(piece) {
      thoughts += piece;
    },
    end(rest, retrieval) {
      written = written.trim();
      const valid = rest.citations ?? [];
      const before = cited;
      cited = (number) => (valid.includes(number) ? (before?.(number) ?? null) : null);
      draw();
      finish(root, [...shownThoughts(thoughts), ...endings(written, thoughts, rest, retrieval), times(rest.seconds ?? {})]);
    },
    fail(message, again) {
      const problem = written ? `${message} The text above is incomplete.` : message;
      const button = element("button", { type: "button", listeners: { click: again } }, "Try again");
      finish(root, [element("p", { class: "problem" }, problem), button]);
    },
    stopped() {
      finish(root, [element("p", { class: "soft" }, written ? "Stopped: the answer is incomplete." : "Stopped.")]);
    },
  };
}

function finish(root, notes) {
  root.classList.remove("waiting");
  root.setAttribute("aria-busy", "false");
  root.querySelector(".state").remove();
  root.append(...notes);
}

// [n] becomes a link to its document; a number without a document stays text.
function withCitations(text, cited) {
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(CITATION)) {
    const rank = cited?.(Number(found[1])) ?? null;
    if (rank === null || !find(`evidence-${rank}`)) continue;
    const click = (event) => {
      event.preventDefault();
      focusEvidence(rank);
    };
    const link = { href: `#evidence-${rank}`, class: "cite", "aria-label": `Document ${rank}`, listeners: { click } };
    pieces.push(text.slice(at, found.index), element("a", link, found[0]));
    at = found.index + found[0].length;
  }
  return [element("bdi", {}, ...pieces, text.slice(at))];
}

// What the reader thought, closed until somebody opens it.
function shownThoughts(thoughts) {
  if (thoughts === "") return [];
  const text = element("bdi", { class: "thoughts" }, thoughts);
  return [element("details", { class: "soft" }, element("summary", {}, "Thoughts"), text)];
}

function endings(text, thoughts, rest, retrieval) {
  const notes = [];
  const note = (message) => notes.push(element("p", { class: "soft" }, message));
  for (const each of rest.notes ?? []) note(each);
  if (!rest.notes?.length && /^unknown[.!]?$/i.test(text)) note(`The reader found no answer ${retrieval ? "in these" : "without"} documents.`);
  if (text === "" && !rest.notes?.length) note(thoughts ? "The reader thought, but wrote no answer." : "The reader wrote nothing.");
  if (rest.dropped?.question) note("The reader does not see pictures: yours only helped to find documents.");
  if (rest.finish === "length") note("Cut off: the answer reached its greatest length.");
  if (rest.finish === "cancelled") note("Stopped: the answer is incomplete.");
  if (rest.invalid_citations?.length) {
    const numbers = rest.invalid_citations.map((number) => `[${number}]`).join(", ");
    note(`It cites ${numbers}, but there is no such document.`);
  }
  return notes;
}

function times(seconds) {
  const list = element("dl", { class: "times soft", "aria-label": "Time taken" });
  for (const [stage, taken] of Object.entries(seconds)) {
    list.append(element("div", {}, element("dt", {}, untrustedText(stage)), element("dd", {}, formatSeconds(taken))));
  }
  return list;
}

const formatSeconds = (seconds) => (seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);
