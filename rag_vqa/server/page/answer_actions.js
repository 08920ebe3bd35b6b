// Actions below a finished answer: copy the command line, show the prompt, compare, give feedback.
// Does not know how an answer is requested.

import { request } from "./api.js";
import { commandLine } from "./shell_command.js";
import { announce, disclosure, element, untrustedText } from "./dom.js";

// Hints on the file that the command names, by where the picture came from.
const WHERE = {
  file: "Add the picture's folder, if it is not the current one.",
  gallery: "The picture is an example of this server. Give --image a picture of your own.",
  pasted: "The picture was pasted and is no file yet. Save it under this name first.",
};

// `compare()` asks again without documents, and resolves when that has ended.
export function actions({ info, question, rest, compare }) {
  const command = disclosure("Copy as command line", (panel) => showCommand(panel, info, question));
  command.button.addEventListener("click", () => copy(command.panel));
  const parts = [command];
  if (rest.prompt) parts.push(disclosure("Exact prompt", (panel) => panel.append(preformatted(rest.prompt, "The prompt"))));
  const row = element("div", { class: "row actions" }, ...parts.map((part) => part.button), comparison(compare));
  if (info.feedback && rest.id) row.append(feedback(rest.id));
  return element("div", { class: "after" }, row, ...parts.map((part) => part.panel));
}

// Preformatted text. It scrolls, so the keyboard must reach it.
const preformatted = (text, name) =>
  element("pre", { tabindex: "0", role: "region", "aria-label": name }, untrustedText(text));

function showCommand(panel, info, { text, picture }) {
  panel.append(preformatted(commandLine(info.command, text, picture?.name), "The command"));
  if (picture) panel.append(element("p", { class: "soft" }, WHERE[picture.origin]));
  panel.append(element("p", { class: "copied soft" }));
}

async function copy(panel) {
  if (panel.hidden) return;
  const state = panel.querySelector(".copied");
  try {
    await navigator.clipboard.writeText(panel.querySelector("pre").textContent);
    state.textContent = "Copied.";
  } catch {
    state.textContent = "The browser does not let this page copy. Select the line above."; // over plain HTTP
  }
  announce(state.textContent);
}

function comparison(compare) {
  const button = element("button", { type: "button" }, "Compare without documents");
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.disabled = await compare();
  });
  return button;
}

function feedback(id) {
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
