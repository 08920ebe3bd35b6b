// The picture of the question: chosen, dropped, pasted, or from the gallery; shown and removed.
// Knows the form's left side. Does not know the question.

import { element, find, untrustedText } from "./dom.js";
import { drawPicture } from "./pictures.js";

const PREVIEW = 320;

// The choice: {blob, name, origin: file, gallery or pasted, canvas: null without a preview, refused:
// the reason why it cannot be used, or ""}; or null.
let chosen = null;
let limit = Infinity; // bytes of a picture
let reportProblem = () => {};
let turn = 0; // a slower decoding must not replace a later choice

export const chosenPicture = () => chosen;

export function startPictureInput(onProblem) {
  reportProblem = onProblem;
}

export function limitPictures(maxBytes) {
  limit = maxBytes ?? Infinity;
}

// → whether it can be used. An unusable picture stays visible until it is replaced or removed, so
// that no question goes out without the picture that the person meant.
export async function choosePicture(blob, name, origin = "file") {
  const mine = ++turn;
  const refused = refusal(blob);
  reportProblem(refused);
  const choice = { blob, name, origin, canvas: null, refused };
  chosen = choice; // before it is drawn, so that a question sent at once has it
  // The server reads formats that a browser cannot show, and reports what it cannot read.
  if (!refused) choice.canvas = await drawPicture(blob, PREVIEW, `The chosen picture: ${name}`).catch(() => null);
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
    reportProblem("");
    find("file").value = "";
    show();
    find("file").focus();
  };
  const button = element("button", { type: "button", listeners: { click: remove } }, "Remove");
  preview.replaceChildren(
    ...(chosen ? [chosen.canvas ?? element("p", { class: "soft blank" }, chosen.refused ? "not usable" : "no preview"), element("p", {}, untrustedText(chosen.name, { class: "name" }), button)] : []),
  );
  preview.hidden = chosen === null;
  find("drop").classList.toggle("full", chosen !== null);
  for (const one of find("gallery").querySelectorAll("button")) {
    one.setAttribute("aria-pressed", String(chosen?.origin === "gallery" && chosen.name === one.dataset.name));
  }
}

find("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) choosePicture(file, file.name);
});

document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (!file) return; // text goes where the cursor is
  event.preventDefault();
  choosePicture(file, file.name || "pasted.png", "pasted");
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
  if (file) choosePicture(file, file.name);
});
