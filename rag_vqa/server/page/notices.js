// What a person must know before asking: what is kept of questions, where photos go, what serves.
// Knows /v1/info; does not know the form.

import { element, find, others } from "./dom.js";

export function showInfo(info) {
  find("about").replaceChildren(others(info.name), ` · ${info.documents.toLocaleString("en")} documents`);
  document.title = `${info.name} · rag-vqa`;
  const notices = [];
  if (info.log_questions) {
    const days = info.log_questions.days === 1 ? "1 day" : `${info.log_questions.days} days`;
    notices.push(element("p", { class: "notice" }, kept(info, days)));
  }
  const servers = info.reader.servers ?? [];
  if (servers.length) {
    const names = servers.flatMap((server, place) => [...(place ? [", "] : []), others(server, { class: "name" })]);
    notices.push(element("p", { class: "notice" }, "Your question and photo are sent on, to be read by ", ...names, "."));
  }
  find("notices").replaceChildren(...notices);
  find("enter-token").hidden = !info.public || info.trusted;
  const home = servers.length ? "" : " Your picture stays on this server, and is forgotten once it is read.";
  find("where").replaceChildren(
    "Found by ", others(info.retriever), ", read by ", others(info.reader.name), ".",
    info.log_questions ? "" : home, ` rag-vqa ${info.version}.`,
  );
}

// All that the server writes down: an answer of which nobody says anything is not in it.
function kept({ feedback }, days) {
  const questions = `Questions and their pictures are kept on this server for ${days}.`;
  const opinions = "So is whether you call an answer right: of one that is, its text and the documents it cites too.";
  return feedback ? `${questions} ${opinions}` : questions;
}

export function showWaiting(sentence) {
  find("notices").replaceChildren(element("p", { class: "notice" }, `${sentence}.`));
}

export function showTrouble(message, again) {
  const button = element("button", { type: "button", listeners: { click: again } }, "Try again");
  find("notices").replaceChildren(element("div", { class: "notice bad", role: "alert" }, element("p", {}, message), button));
}
