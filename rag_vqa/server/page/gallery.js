// Pictures that the server offers, each with a question. Knows their list; choosing.js takes one.

import { requestBlob } from "./api.js";
import { choose } from "./choosing.js";
import { element, find } from "./dom.js";
import { painted } from "./pictures.js";

const SIDE = 96;

// `items`: [{id, question, image}], as /v1/info has them.
export function showGallery(items, onProblem) {
  const list = find("gallery").querySelector("ul");
  for (const item of items) list.append(element("li", {}, offered(item, onProblem)));
  find("gallery").hidden = items.length === 0;
}

function offered(item, onProblem) {
  const name = `${item.id}.png`;
  const button = element("button", {
    type: "button", class: "offer", "aria-pressed": "false", "data-name": name,
    "aria-label": `Example: ${item.question}`, title: item.question,
  });
  const picture = requestBlob(item.image);
  picture
    .then((blob) => painted(blob, SIDE, ""))
    .then((canvas) => {
      canvas.setAttribute("aria-hidden", "true"); // the button has a name
      button.append(canvas);
    })
    .catch(() => button.append("picture missing"));
  button.addEventListener("click", async () => {
    try {
      if (!(await choose(await picture, name, "gallery"))) return;
      find("question").value = item.question;
      find("question").focus();
    } catch (error) {
      onProblem(error.message);
    }
  });
  return button;
}
