// Why a document matched: the pairs of tokens that weigh most, traced to words and patches.
// Knows what /v1/explain answers. The tracing is the server's, and approximate.

import { request, requestJson } from "./api.js";
import { element, others } from "./dom.js";
import { marked, painted } from "./pictures.js";

const SIDE = 260;
const PAIRS = 6;

export async function showWhy(panel, hit, asked, picturePath) {
  const state = element("p", { class: "soft", role: "status" }, "Looking for what matched …");
  panel.replaceChildren(state);
  try {
    const [found, theirs] = await Promise.all([
      requestJson("/v1/explain", {
        body: { text: asked.text, image: asked.dataUrl ?? undefined, document: hit.document.id, position: hit.passage.position },
      }),
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
  request(path)
    .then((response) => response.blob())
    .then((blob) => painted(blob, SIDE, `Picture of ${hit.document.title || hit.document.id}`));

function draw(panel, found, sides) {
  const pairs = [...found.pairs].sort((one, other) => other.score - one.score).slice(0, PAIRS);
  const shown = element("div", { class: "traced" });
  const group = `pairs-${sides.hit.rank}`;
  const show = (some) =>
    shown.replaceChildren(
      side("The question", "query", some, sides.asked.text, sides.asked.picture?.canvas ?? null),
      side("The document", "document", some, sides.hit.passage.text, sides.theirs),
    );
  const choice = (label, some, checked) =>
    element("label", {},
      element("input", { type: "radio", name: group, checked, listeners: { change: () => show(some) } }), label);
  const choices = element("fieldset", { class: "pairs" },
    element("legend", {}, "Strongest pairs of tokens"),
    choice("all", pairs, true),
    ...pairs.map((pair, place) => choice(`${place + 1}: ${pair.score.toFixed(2)}`, [pair], false)));
  const note = `Approximate: traced through the model's gates and attention.`
    + ` ${pairs.length} of ${found.pairs.length} pairs; together they all make the score of ${found.score.toFixed(2)}.`;
  panel.replaceChildren(choices, shown, element("p", { class: "soft note" }, note));
  show(pairs);
}

function side(title, which, pairs, text, picture) {
  const words = together(pairs.flatMap((pair) => pair[`${which}_words`] ?? []), (word) => `${word.start}-${word.end}`);
  const patches = together(pairs.flatMap((pair) => pair[`${which}_patches`] ?? []), (patch) => patch.box.join());
  const parts = [element("h4", {}, title)];
  if (picture && patches.length) parts.push(marked(picture, patches));
  if (text) parts.push(element("p", {}, highlighted(text, words)));
  if (!words.length && !patches.length) parts.push(element("p", { class: "soft" }, "Traced to nothing on this side."));
  return element("section", {}, ...parts);
}

// What several pairs name counts once, by the heaviest.
function together(all, key) {
  const heaviest = new Map();
  for (const one of all) {
    const before = heaviest.get(key(one));
    if (!before || before.weight < one.weight) heaviest.set(key(one), one);
  }
  return [...heaviest.values()];
}

// Places in a text are counted in characters, as Python counts them, not in UTF-16 units.
function highlighted(text, words) {
  const characters = Array.from(text);
  const line = others("");
  const most = Math.max(...words.map((word) => word.weight), 0);
  let at = 0;
  for (const word of [...words].sort((one, other) => one.start - other.start)) {
    if (word.start < at || word.end > characters.length || most === 0) continue;
    const mark = element("mark", {}, characters.slice(word.start, word.end).join(""));
    mark.style.setProperty("--weight", String(word.weight / most));
    line.append(characters.slice(at, word.start).join(""), mark);
    at = word.end;
  }
  line.append(characters.slice(at).join(""));
  return line;
}
