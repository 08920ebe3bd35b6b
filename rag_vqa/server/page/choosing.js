// The picture of the question: chosen, dropped, pasted, or out of the gallery; shown and removed.
// Knows the form's left side. Does not know what is asked.

import { element, find, others } from "./dom.js";
import { painted } from "./pictures.js";

const PREVIEW = 320;

// What is chosen: {blob, name, origin: file, gallery or pasted, canvas: null where there is no
// preview, refused: why it cannot be asked about, or ""}; or null.
let chosen = null;
let limit = Infinity; // bytes of a picture
let complain = () => {};
let turn = 0; // a slower decoding must not replace a later choice

export const chosenPicture = () => chosen;

export function startChoosing(onProblem) {
  complain = onProblem;
}

export function limitPictures(maxBytes) {
  limit = maxBytes ?? Infinity;
}

// → whether it can be asked about. What cannot stays in sight until it is replaced or removed: a
// question is not asked without a picture that somebody meant to give.
export async function choose(blob, name, origin = "file") {
  const mine = ++turn;
  const refused = refusal(blob);
  complain(refused);
  const choice = { blob, name, origin, canvas: null, refused };
  chosen = choice; // before it is painted: who asks at once asks about it
  // The server reads formats that a browser does not show, and says what it does not take.
  if (!refused) choice.canvas = await painted(blob, PREVIEW, `The chosen picture: ${name}`).catch(() => null);
  if (mine !== turn) return false;
  show();
  return refused === "";
}

function refusal(blob) {
  if (blob.type && !blob.type.startsWith("image/")) return "This file is not a picture. Choose a picture, or remove it.";
  if (blob.size === 0) return "This file is empty. Choose another picture, or remove it.";
  if (blob.size <= limit) return "";
  const [given, allowed] = [blob.size, limit].map((bytes) => (bytes / 1e6).toFixed(1));
  return `This picture has ${given} MB, and the server takes ${allowed} MB. Make it smaller, or remove it.`;
}

function show() {
  const preview = find("preview");
  const remove = () => {
    turn++;
    chosen = null;
    complain("");
    find("file").value = "";
    show();
    find("file").focus();
  };
  const button = element("button", { type: "button", listeners: { click: remove } }, "Remove");
  preview.replaceChildren(
    ...(chosen ? [chosen.canvas ?? element("p", { class: "soft blank" }, chosen.refused ? "not usable" : "no preview"), element("p", {}, others(chosen.name, { class: "name" }), button)] : []),
  );
  preview.hidden = chosen === null;
  find("drop").classList.toggle("full", chosen !== null);
  for (const one of find("gallery").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(chosen?.origin === "gallery" && chosen.name === one.dataset.name));
  }
}

find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) choose(file, file.name);
});

document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (!file) return; // text goes where the cursor is
  event.preventDefault();
  choose(file, file.name || "pasted.png", "pasted");
});

// Anywhere on the page: a drop beside the field would otherwise replace the page by the picture.
const over = (is) => find("drop").classList.toggle("over", is);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  over(true);
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) over(false);
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over(false);
  const [file] = event.dataTransfer.files;
  if (file) choose(file, file.name);
});
