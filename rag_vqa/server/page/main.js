// The page: asks a question, and shows its evidence and its answer. Wires the other modules.

import { actions } from "./answer_actions.js";
import { answerPlace } from "./answer.js";
import { onTokenNeeded, replaceToken, requestJson } from "./api.js";
import { sendQuestion } from "./chat_request.js";
import { chosenPicture, limitPictures, startPictureInput } from "./picture_input.js";
import { announce, find } from "./dom.js";
import { awaitEvidence, noEvidence, showDropped, showEvidence } from "./evidence.js";
import { showGallery } from "./gallery.js";
import { showInfo, showTrouble, showWaiting } from "./notices.js";
import { startAnswerLink } from "./answer_link.js";
import { askForToken } from "./token.js";

let info = null;
let running = null; // the AbortController of the running question

const problem = (text) => {
  find("problem").textContent = text;
};

async function start() {
  find("notices").replaceChildren();
  try {
    info = await requestJson("/v1/info", { waiting: showWaiting });
  } catch (error) {
    showTrouble(error.message, start);
    return;
  }
  showInfo(info);
  limitPictures(info.max_upload_bytes);
  if (find("gallery").hidden) showGallery(info.gallery ?? [], problem);
}

// Documents may change while the page is open.
async function refresh() {
  try {
    info = await requestJson("/v1/info");
  } catch {
    return; // the next question will report the problem
  }
  showInfo(info);
}

// A public server needs no token, but checks a given one.
async function enterToken() {
  let wrong = false;
  while (await replaceToken(wrong)) {
    await start();
    if (info === null || info.trusted) return;
    wrong = true;
  }
}

async function ask() {
  if (running) return;
  const picture = chosenPicture();
  if (picture?.refused) {
    problem(picture.refused);
    return;
  }
  const text = find("question").value.trim();
  if (text === "") {
    problem("Write a question first.");
    find("question").focus();
    return;
  }
  problem("");
  if (info === null) await start();
  // Nothing is awaited between this check and `busy`, so a second Enter finds the question running.
  if (info === null || running) return;
  // Prompts and explanations need the token.
  await answerWithDocuments({ text, picture, trusted: info.trusted });
}

async function answerWithDocuments(question) {
  const place = answerPlace("With the documents");
  find("answers").replaceChildren(place.root);
  find("after").replaceChildren();
  awaitEvidence(Math.min(info.k, 3));
  find("results").hidden = false;
  find("results").scrollIntoView({ block: "start" });
  let hits = [];
  const onHits = (found) => {
    hits = found;
    announce(`${showEvidence(found, question)} found. Reading.`);
  };
  const again = () => answerWithDocuments(question);
  const rest = await follow(place, again, (signal) =>
    sendQuestion(question, { model: info.reader.name, retrieval: true, prompt: question.trusted }, place, signal, onHits),
  );
  noEvidence();
  if (rest === null) return;
  showDropped(hits, rest.dropped);
  const compare = () => answerWithout(question);
  find("after").replaceChildren(actions({ info, question, rest, compare }));
  await refresh();
}

// → whether there is an answer.
async function answerWithout(question) {
  if (running) return false;
  const place = answerPlace("Without documents");
  const [first] = find("answers").children;
  find("answers").replaceChildren(first, place.root);
  const options = { model: info.reader.name, retrieval: false, prompt: false };
  const again = () => answerWithout(question);
  const rest = await follow(place, again, (signal) => sendQuestion(question, options, place, signal, () => {}));
  return rest !== null;
}

// Runs one question to its end → the details from `sendQuestion`; null if it failed or was stopped.
async function follow(place, again, run) {
  const mine = new AbortController();
  busy(mine);
  try {
    const rest = await run(mine.signal);
    announce([`The answer: ${place.text()}`, ...(rest.notes ?? [])].join(". "));
    return rest;
  } catch (error) {
    if (mine.signal.aborted) {
      place.stopped();
      announce("Stopped.");
    } else {
      place.fail(error.message, again);
      announce(error.message);
    }
    return null;
  } finally {
    busy(null);
  }
}

function busy(controller) {
  running = controller;
  find("ask").setAttribute("aria-disabled", String(controller !== null));
  const focused = document.activeElement === find("stop");
  find("stop").hidden = controller === null;
  if (focused) find("ask").focus({ preventScroll: true }); // a hidden button cannot keep it
}

find("asking").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("stop").addEventListener("click", () => running?.abort());
find("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !find("token").open) running.abort();
});

find("enter-token").addEventListener("click", enterToken);

onTokenNeeded(askForToken);
startPictureInput(problem);
startAnswerLink();
start();
