// Notices before asking: what the models cannot do, what is stored, where photos are sent.
// Knows /v1/info; does not know the form.

import { element, find, untrustedText } from "./dom.js";

export function showInfo(info) {
  const name = info.title ? [] : [untrustedText(info.name), " · "];
  find("about").replaceChildren(...name, `${info.documents.toLocaleString("en")} documents`);
  document.title = info.title || `${info.name} · rag-vqa`;
  const notices = info.limits ? [limitsNotice(info.limits)] : [];
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

// A region with a name, which screen readers list. The server writes the sentences.
function limitsNotice(limits) {
  const heading = element("strong", {}, "Not for these documents. ");
  return element("p", { class: "notice warn", role: "note", "aria-label": "Limits of the models" }, heading, limits);
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
