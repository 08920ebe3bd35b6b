// Shows why a document matched: the strongest pairs of tokens, with their words and image patches.
// Knows the response of /v1/explain: the {words, patches} of both sides, for the whole score and for
// each of the strongest pairs, and both texts as they were encoded. The weights are approximate.

import { requestBlob, requestJson } from "./api.js";
import { pictureUrl } from "./chat_request.js";
import { element, untrustedText } from "./dom.js";
import { veilPatches, drawPicture } from "./pictures.js";

const SIDE = 260;
const FAINT = 0.15; // of the heaviest word's weight: lighter words are not highlighted

export async function showExplanation(panel, hit, question, picturePath) {
  const state = element("p", { class: "soft", role: "status" }, "Looking for what matched …");
  panel.replaceChildren(state);
  try {
    const image = (await pictureUrl(question.picture)) ?? undefined;
    const body = { text: question.text, image, document: hit.document.id, position: hit.passage.position };
    const [explained, documentCanvas] = await Promise.all([
      requestJson("/v1/explain", { body }),
      picturePath === null ? null : documentPicture(picturePath, hit),
    ]);
    draw(panel, explained, { question, hit, documentCanvas });
  } catch (error) {
    const again = () => showExplanation(panel, hit, question, picturePath);
    state.textContent = error.message;
    panel.append(element("button", { type: "button", listeners: { click: again } }, "Try again"));
  }
}

const documentPicture = (path, hit) =>
  requestBlob(path)
    .then((blob) => drawPicture(blob, SIDE, `Picture of ${hit.document.title || hit.document.id}`));

function draw(panel, explained, { question, hit, documentCanvas }) {
  const pairs = [...explained.pairs].sort((one, other) => other.score - one.score);
  const shown = element("div", { class: "traced" });
  const show = (traced) =>
    shown.replaceChildren(
      side("The question", traced.query_words, traced.query_patches, explained.query_text, question.picture?.canvas),
      side("The document", traced.document_words, traced.document_patches, explained.document_text, documentCanvas),
    );
  const choice = (label, traced, checked) =>
    element("label", {},
      element("input", { type: "radio", name: `pairs-${hit.rank}`, checked, listeners: { change: () => show(traced) } }),
      label);
  const choices = element("fieldset", { class: "pairs" },
    element("legend", {}, "The ReT score, and its strongest pairs of tokens"),
    choice(`ReT score: ${explained.score.toFixed(2)}`, explained, true),
    ...pairs.map((pair, place) => choice(`${place + 1}: ${pair.score.toFixed(2)}`, pair, false)));
  const fused = "fused" in (hit.scores ?? {}) ? "This explains the ReT score, not the rank, which also depends on matching words. " : "";
  const note = `${fused}Approximate: measured by hiding words from the model, and by tracing pictures through its gates and attention.`;
  panel.replaceChildren(choices, shown, element("p", { class: "soft note" }, note));
  show(explained);
}

function side(title, words, patches, text, picture) {
  const parts = [element("h4", {}, title, shares(words, patches))];
  if (picture && patches.length) parts.push(veilPatches(picture, patches));
  if (text) parts.push(element("p", {}, highlighted(text, words)));
  if (!words.length && !patches.length) parts.push(element("p", { class: "soft" }, "Nothing on this side stands out."));
  return element("section", {}, ...parts);
}

// Highlights compare words with words and patches with patches; these shares compare text and picture.
function shares(words, patches) {
  const [textWeight, pictureWeight] = [words, patches].map((all) => all.reduce((sum, one) => sum + one.weight, 0));
  if (!(textWeight > 0 && pictureWeight > 0)) return "";
  const percent = Math.round((100 * textWeight) / (textWeight + pictureWeight));
  return element("span", { class: "shares" }, ` text ${percent}%, picture ${100 - percent}%`);
}

// Positions count characters, as Python does, not UTF-16 units.
function highlighted(text, words) {
  const characters = Array.from(text);
  const line = untrustedText("");
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
