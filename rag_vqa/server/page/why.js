// Why a document matched: the pairs of tokens that weigh most, and the words and patches behind.
// Knows what /v1/explain answers: for the whole score and for each of the strongest pairs, the
// {words, patches} of both sides; and both texts as they were encoded. The weights are approximate.

import { requestBlob, requestJson } from "./api.js";
import { addressOf } from "./asking.js";
import { element, others } from "./dom.js";
import { marked, painted } from "./pictures.js";

const SIDE = 260;
const FAINT = 0.15; // of the heaviest word: what weighs less is not marked

export async function showWhy(panel, hit, asked, picturePath) {
  const state = element("p", { class: "soft", role: "status" }, "Looking for what matched …");
  panel.replaceChildren(state);
  try {
    const image = (await addressOf(asked.picture)) ?? undefined;
    const body = { text: asked.text, image, document: hit.document.id, position: hit.passage.position };
    const [found, theirs] = await Promise.all([
      requestJson("/v1/explain", { body }),
      picturePath === null ? null : documentPicture(picturePath, hit),
    ]);
    draw(panel, found, { asked, hit, theirs });
  } catch (error) {
    const again = () => showWhy(panel, hit, asked, picturePath);
    state.textContent = error.message;
    panel.append(element("button", { type: "button", listeners: { click: again } }, "Try again"));
  }
}

const documentPicture = (path, hit) =>
  requestBlob(path)
    .then((blob) => painted(blob, SIDE, `Picture of ${hit.document.title || hit.document.id}`));

function draw(panel, found, { asked, hit, theirs }) {
  const pairs = [...found.pairs].sort((one, other) => other.score - one.score);
  const shown = element("div", { class: "traced" });
  const show = (traced) =>
    shown.replaceChildren(
      side("The question", traced.query_words, traced.query_patches, found.query_text, asked.picture?.canvas),
      side("The document", traced.document_words, traced.document_patches, found.document_text, theirs),
    );
  const choice = (label, traced, checked) =>
    element("label", {},
      element("input", { type: "radio", name: `pairs-${hit.rank}`, checked, listeners: { change: () => show(traced) } }),
      label);
  const choices = element("fieldset", { class: "pairs" },
    element("legend", {}, "What made the score of ReT, and the strongest pairs of tokens"),
    choice(`ReT score: ${found.score.toFixed(2)}`, found, true),
    ...pairs.map((pair, place) => choice(`${place + 1}: ${pair.score.toFixed(2)}`, pair, false)));
  const fused = "fused" in (hit.scores ?? {}) ? "This explains the score of ReT, not the rank, which is fused with that of words. " : "";
  const note = `${fused}Approximate: words are hidden from the model, pictures traced through its gates and attention.`;
  panel.replaceChildren(choices, shown, element("p", { class: "soft note" }, note));
  show(found);
}

function side(title, words, patches, text, picture) {
  const parts = [element("h4", {}, title, shares(words, patches))];
  if (picture && patches.length) parts.push(marked(picture, patches));
  if (text) parts.push(element("p", {}, highlighted(text, words)));
  if (!words.length && !patches.length) parts.push(element("p", { class: "soft" }, "Traced to nothing on this side."));
  return element("section", {}, ...parts);
}

// Highlights say how words compare with words and patches with patches; this, which of both counted.
function shares(words, patches) {
  const [told, seen] = [words, patches].map((all) => all.reduce((sum, one) => sum + one.weight, 0));
  if (!(told > 0 && seen > 0)) return "";
  const percent = Math.round((100 * told) / (told + seen));
  return element("span", { class: "shares" }, ` text ${percent}%, picture ${100 - percent}%`);
}

// Places in a text are counted in characters, as Python counts them, not in UTF-16 units.
function highlighted(text, words) {
  const characters = Array.from(text);
  const line = others("");
  const most = Math.max(...words.map((word) => word.weight), 0);
  let at = 0;
  for (const word of [...words].sort((one, other) => one.start - other.start)) {
    if (word.start < at || word.end > characters.length || !(word.weight > FAINT * most)) continue;
    const mark = element("mark", {}, characters.slice(word.start, word.end).join(""));
    mark.style.setProperty("--weight", String(word.weight / most));
    line.append(characters.slice(at, word.start).join(""), mark);
    at = word.end;
  }
  line.append(characters.slice(at).join(""));
  return line;
}
