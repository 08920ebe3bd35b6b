// What can be done with an answer: its command line, its prompt, a comparison, an opinion.
// Knows an answer that is whole. Does not know how one is asked for.

import { request } from "./api.js";
import { commandLine } from "./command.js";
import { announce, disclosure, element, others } from "./dom.js";

// Where the file is that the command names.
const WHERE = {
  file: "Say where the picture lies, if not in the current folder.",
  gallery: "The picture is an example of this server: --image is to name a picture of yours.",
  pasted: "The picture was pasted, and there is no such file: save it under this name first.",
};

// `compare()` asks again without documents, and resolves when that is over.
export function actions({ info, asked, rest, compare }) {
  const command = disclosure("Copy as command line", (panel) => showCommand(panel, info, asked));
  command.button.addEventListener("click", () => copy(command.panel));
  const parts = [command];
  if (rest.prompt) parts.push(disclosure("Exact prompt", (panel) => panel.append(exact(rest.prompt, "The prompt"))));
  const row = element("div", { class: "row actions" }, ...parts.map((part) => part.button), comparison(compare));
  if (info.feedback && rest.id) row.append(opinion(rest.id));
  return element("div", { class: "after" }, row, ...parts.map((part) => part.panel));
}

// Text as it is. It scrolls, so the keyboard must reach it.
const exact = (text, name) =>
  element("pre", { tabindex: "0", role: "region", "aria-label": name }, others(text));

function showCommand(panel, info, { text, picture }) {
  panel.append(exact(commandLine(info.command, text, picture?.name), "The command"));
  if (picture) panel.append(element("p", { class: "soft" }, WHERE[picture.origin]));
  panel.append(element("p", { class: "copied soft" }));
}

async function copy(panel) {
  if (panel.hidden) return;
  const said = panel.querySelector(".copied");
  try {
    await navigator.clipboard.writeText(panel.querySelector("pre").textContent);
    said.textContent = "Copied.";
  } catch {
    said.textContent = "The browser does not let this page copy: select the line above."; // over plain HTTP
  }
  announce(said.textContent);
}

function comparison(compare) {
  const button = element("button", { type: "button" }, "Compare without documents");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.disabled = await compare();
  });
  return button;
}

function opinion(id) {
  const group = element("div", { class: "opinion", role: "group", "aria-label": "Is it right?" });
  const buttons = [["Yes", true], ["No", false]].map(([label, good]) => {
    const button = element("button", { type: "button", "aria-pressed": "false" }, label);
    button.addEventListener("click", () => send(button, good));
    return button;
  });
  const state = element("span", { class: "soft" });
  const send = async (pressed, good) => {
    try {
      await request("/v1/feedback", { body: { id, good } });
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
      state.textContent = "Thank you.";
    } catch (error) {
      state.textContent = error.message;
    }
    announce(state.textContent);
  };
  group.append(element("span", { class: "soft" }, "Is it right?"), ...buttons, state);
  return group;
}
