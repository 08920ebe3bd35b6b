// Notices before asking: what is stored of questions, where photos are sent, which models answer.
// Knows /v1/info; does not know the form.

import { element, find, untrustedText } from "./dom.js";

export function showInfo(info) {
  const name = info.title ? [] : [untrustedText(info.name), " · "];
  find("about").replaceChildren(...name, `${info.documents.toLocaleString("en")} documents`);
  document.title = info.title || `${info.name} · rag-vqa`;
  const notices = [];
  if (info.log_questions) {
    const days = info.log_questions.days === 1 ? "1 day" : `${info.log_questions.days} days`;
    notices.push(element("p", { class: "notice" }, storageNotice(info, days)));
  }
  const servers = info.reader.servers ?? [];
  if (servers.length) {
    const names = servers.flatMap((server, place) => [...(place ? [", "] : []), untrustedText(server, { class: "name" })]);
    notices.push(element("p", { class: "notice" }, "Your question and photo are sent to another server: ", ...names, "."));
  }
  find("notices").replaceChildren(...notices);
  find("enter-token").hidden = !info.public || info.trusted;
  const home = servers.length ? "" : " Your picture stays on this server and is not stored.";
  find("where").replaceChildren(
    "Retriever: ", untrustedText(info.retriever), ". Reader: ", untrustedText(info.reader.name), ".",
    info.log_questions ? "" : home, ` rag-vqa ${info.version}.`,
  );
}

// All that the server stores. An answer without feedback is not stored.
function storageNotice({ feedback }, days) {
  const questions = `Questions and their pictures are stored on this server for ${days}.`;
  const opinions = "So is your feedback; for a right answer, also its text and the documents it cites.";
  return feedback ? `${questions} ${opinions}` : questions;
}

export function showWaiting(sentence) {
  find("notices").replaceChildren(element("p", { class: "notice" }, `${sentence}.`));
}

export function showTrouble(message, again) {
  const button = element("button", { type: "button", listeners: { click: again } }, "Try again");
  find("notices").replaceChildren(element("div", { class: "notice bad", role: "alert" }, element("p", {}, message), button));
}
