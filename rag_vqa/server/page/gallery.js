// Shows the example questions of the server, with their pictures; picture_input.js takes a choice.

import { requestBlob } from "./api.js";
import { choosePicture } from "./picture_input.js";
import { element, find } from "./dom.js";
import { drawPicture } from "./pictures.js";

const SIDE = 96;

// `items`: [{id, question, image}], as /v1/info has them.
export function showGallery(items, onProblem) {
  const list = find("gallery").querySelector("ul");
  for (const item of items) list.append(element("li", {}, exampleButton(item, onProblem)));
  find("gallery").hidden = items.length === 0;
}

function exampleButton(item, onProblem) {
  const name = `${item.id}.png`;
  const button = element("button", {
    type: "button", class: "offer", "aria-pressed": "false", "data-name": name,
    "aria-label": `Example: ${item.question}`, title: item.question,
  });
  const picture = requestBlob(item.image);
  picture
    .then((blob) => drawPicture(blob, SIDE, ""))
    .then((canvas) => {
      canvas.setAttribute("aria-hidden", "true"); // the button has a name
      button.append(canvas);
    })
    .catch(() => button.append("picture missing"));
  button.addEventListener("click", async () => {
    try {
      if (!(await choosePicture(await picture, name, "gallery"))) return;
      find("question").value = item.question;
      find("question").focus();
    } catch (error) {
      onProblem(error.message);
    }
  });
  return button;
}
